"""A terminal does what it is told, repeats what nobody answered, and remembers who truly stood there.

The gateway's answers come from the gateway's own code (its book and its JSON), scripted into an order of events.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from loadtests.cameras import Film, Stand
from loadtests.gateway_client import GatewayClient, GatewayRefusal
from loadtests.motion import Scene
from loadtests.people.cast import Payer, Stranger
from loadtests.people.visits import Kind, Visit
from loadtests.terminal import TerminalClient, VisitRecord
from pipeline.errors import OutsideError
from pipeline.gateway.answers import ApiError, intent_view, opened
from pipeline.gateway.book import Record
from pipeline.keys.credentials import TerminalCredentials
from schemas.events import Evidence, Hint, OpenIntent, PaymentTerms, Settlement, Verdict
from schemas.ids import derived_id

TERMINAL = "shop.01"
CREDENTIALS = TerminalCredentials(TERMINAL, "0" * 64)
INTENT = derived_id("intent")
PAYER_ID = derived_id("payer")
PHONE = "+999000004567"
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
COUNTER = itertools.count(1)


def terms(amount_minor: int, ttl_us: int = 20_000_000) -> PaymentTerms:
    """Terms that are open for a while yet."""
    return PaymentTerms(
        intent_id=INTENT,
        terminal_id=TERMINAL,
        merchant_id="shop",
        payee_id="shop-main",
        amount_minor=amount_minor,
        currency="CNY",
        opened_at_us=0,
        expires_at_us=ttl_us,
        key_epoch=1,
    )


def identity() -> dict[str, Any]:
    """The fields of each event."""
    return {
        "event_id": derived_id("event", str(next(COUNTER))),
        "terminal_id": TERMINAL,
        "intent_id": INTENT,
        "trace": TRACE,
    }


def hint(code: Any, *, final: bool = False) -> Callable[[Record], None]:
    """The embedding agent says something."""

    def apply(record: Record) -> None:
        record.hint = Hint(**identity(), code=code, final=final, hinted_at_us=next(COUNTER))

    return apply


def verdict(decision: Any) -> Callable[[Record], None]:
    """The fraud agent has judged."""

    def apply(record: Record) -> None:
        record.verdict = Verdict(
            **identity(),
            terms=terms(100),
            payer_id=PAYER_ID,
            decision=decision,
            methods=("pin",) if decision == "step_up" else (),
            reasons=() if decision == "approve" else ("amount_high",),
            score=0.2,
            policy_version="rules-1",
            features_sha256="0" * 64,
            recognition_sha256="0" * 64,
            captured_at_us=0,
            decided_at_us=0,
        )

    return apply


def ends(outcome: Any, refund_id: str | None = None) -> Callable[[Record], None]:
    """Settlement has decided."""

    def apply(record: Record) -> None:
        event = Settlement(
            **identity(),
            outcome=outcome,
            reasons=(),
            merchant_id="shop",
            payee_id="shop-main",
            merchant_order_id="order",
            amount_minor=100,
            currency="CNY",
            payer_id=PAYER_ID,
            refund_id=refund_id,
            opened_at_us=0,
            expires_at_us=1,
            decided_at_us=0,
            evidence=Evidence(),
        )
        if refund_id is None:
            record.outcome = event
        else:
            record.answers.append(event)

    return apply


@dataclass
class Scripted:
    """A gateway that answers each look with the next event of a script, once what it waits for has been asked."""

    script: Sequence[tuple[str, Callable[[Record], None]]]
    failures: list[int] = field(default_factory=list)
    pin: str = "1234"
    claims_refused: bool = False
    asked: list[tuple[str, dict[str, Any], str | None]] = field(default_factory=list)
    record: Record = field(default_factory=lambda: Record(touched_us=0))
    step: int = 0

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        # A network takes a moment, in which the camera films.
        for _ in range(3):
            await asyncio.sleep(0)
        body = orjson.loads(request.content) if request.content else {}
        what = request.url.path.removeprefix("/v1/intents").split("/")[-1]
        name = {"": "open", INTENT: "look"}.get(what, what)
        self.asked.append((name, body, request.headers.get("Idempotency-Key")))
        assert request.headers["Authorization"] == f"Bearer {CREDENTIALS.token}"
        if self.failures:
            status = self.failures.pop(0)
            if status == 0:
                raise httpx.ConnectError("refused")
            return _answer(ApiError(status, "unknown_outcome", "again"))
        return self._act(name, body)

    def _act(self, name: str, body: dict[str, Any]) -> httpx.Response:
        if name == "open":
            if "claim" in body and self.claims_refused:
                return _answer(ApiError(429, "too_many_claims", "too many"))
            self.record = Record(touched_us=0)
            opening = OpenIntent(
                **identity(), lane_seq=1, merchant_order_id=body["merchant_order_id"], terms=terms(body["amount_minor"])
            )
            self.record.opening, self.record.version = opening, 1
            return httpx.Response(201, content=orjson.dumps(opened(opening)))
        if name == "look":
            if self.step < len(self.script):
                after, event = self.script[self.step]
                if after == "" or after in {each for each, *_ in self.asked}:
                    event(self.record)
                    self.record.version += 1
                    self.step += 1
            return httpx.Response(200, content=orjson.dumps(intent_view(INTENT, self.record)))
        if name == "confirm" and body["pin"] != self.pin:
            return _answer(ApiError(403, "wrong_pin", "wrong", attempts_left=4))
        if name == "refunds":
            return httpx.Response(202, json={"refund_id": derived_id("refund")})
        return httpx.Response(202, json={})


def _answer(error: ApiError) -> httpx.Response:
    response = error.response()
    return httpx.Response(response.status_code, content=bytes(response.body))


class Watching:
    """A camera that notes what it was shown until it was told to stop."""

    def __init__(self) -> None:
        self.scenes: list[Scene] = []

    async def film(self, terms: PaymentTerms, stand: Stand, film: Film, done: Callable[[], bool]) -> None:
        """Looks at the stand all the time."""
        assert terms.intent_id == INTENT
        while not done():
            if self.scenes[-1:] != [stand.scene]:
                self.scenes.append(stand.scene)
            film.frames += 1
            await asyncio.sleep(0)


def serve(gateway: Scripted, kind: Kind, picture: Path, *, stranger: bool = False) -> tuple[VisitRecord, Watching]:
    """One visit at a scripted gateway."""
    who = Stranger("s", picture) if stranger else Payer(PAYER_ID, "p", picture, picture, "1234", PHONE)
    visit = Visit(kind=kind, who=who, amount_minor=100, seed=1, companion=picture, pin_ms=1, react_ms=1, pause_ms=0)
    camera = Watching()

    async def run() -> VisitRecord:
        async with httpx.AsyncClient(transport=httpx.MockTransport(gateway)) as http:
            client = GatewayClient(http, "http://gateway", CREDENTIALS)
            terminal = TerminalClient(TERMINAL, "CNY", client, camera, lambda: next(COUNTER))
            return await terminal.serve(visit)

    return asyncio.run(run()), camera


def names(gateway: Scripted) -> list[str]:
    """What was asked besides looks, in order."""
    return [name for name, *_ in gateway.asked if name != "look"]


def test_a_plain_payment(picture: Path) -> None:
    """Open, look, settled: the terminal knows the outcome, and the camera has stopped."""
    gateway = Scripted([("", verdict("approve")), ("", ends("settled"))])
    record, camera = serve(gateway, Kind.PLAIN, picture)
    assert record.outcome is not None
    assert record.state == "settled"
    assert record.decision == "approve"
    assert names(gateway) == ["open"]
    assert camera.scenes == [Scene.NEAR]


def test_hints_are_heeded(picture: Path) -> None:
    """Who is far comes closer, then bends over; of two people one leaves."""
    script = [("", hint("come_closer")), ("", hint("come_closer")), ("", ends("settled"))]
    record, camera = serve(Scripted(script), Kind.FAR_FIRST, picture)
    assert record.hints == ["come_closer", "come_closer"]
    assert camera.scenes[:2] == [Scene.FAR, Scene.NEAR]
    record, camera = serve(Scripted([("", hint("one_person_please")), ("", ends("settled"))]), Kind.TWO_PEOPLE, picture)
    assert camera.scenes[0] is Scene.TWO


def test_who_is_not_recognised_pays_another_way(picture: Path) -> None:
    """A final hint ends the attempt; the intent is cancelled before anything else is tried."""
    gateway = Scripted([("", hint("not_recognised", final=True)), ("cancel", ends("cancelled"))])
    record, _ = serve(gateway, Kind.STRANGER, picture, stranger=True)
    assert record.state == "cancelled"
    assert record.visit.payer_id is None
    assert ("cancel", {"reason": "another_way_to_pay"}, None) in gateway.asked


def test_who_waits_in_vain_is_left_to_the_deadline(picture: Path) -> None:
    """Nobody cancels; the outcome comes by itself."""
    gateway = Scripted([("", hint("not_recognised", final=True)), ("", ends("expired"))])
    record, _ = serve(gateway, Kind.WAITS_IN_VAIN, picture, stranger=True)
    assert record.state == "expired"
    assert "cancel" not in names(gateway)


def test_a_step_up_takes_the_pin(picture: Path) -> None:
    """The PIN pad sends the PIN for the verdict that asked for it."""
    gateway = Scripted([("", verdict("step_up")), ("confirm", ends("settled"))])
    record, _ = serve(gateway, Kind.LARGE, picture)
    assert record.confirmed
    assert [moment.what for moment in record.moments] == ["opened", "step_up", "PIN accepted", "settled"]


def test_a_mistyped_pin_is_typed_again(picture: Path) -> None:
    """The first one is wrong and refused, the second right."""
    gateway = Scripted([("", verdict("step_up")), ("confirm", ends("settled"))])
    record, _ = serve(gateway, Kind.LARGE_MISTYPED, picture)
    pins = [body["pin"] for name, body, _ in gateway.asked if name == "confirm"]
    assert len(pins) == 2
    assert pins[1] == "1234" != pins[0]
    assert "PIN refused" in {moment.what for moment in record.moments}


def test_a_stranger_knows_no_pin(picture: Path) -> None:
    """If a stranger were taken for a payer, they would still not know the PIN."""
    gateway = Scripted([("", verdict("step_up")), ("cancel", ends("cancelled"))])
    serve(gateway, Kind.STRANGER, picture, stranger=True)
    assert "confirm" not in names(gateway)


def test_a_pin_that_stays_wrong_ends_the_attempt(picture: Path) -> None:
    """Then the payer pays another way."""
    gateway = Scripted([("", verdict("step_up")), ("cancel", ends("cancelled"))], pin="9999")
    record, _ = serve(gateway, Kind.LARGE, picture)
    assert not record.confirmed
    assert names(gateway) == ["open", "confirm", "cancel"]


def test_who_changes_their_mind_cancels_at_once(picture: Path) -> None:
    """Even when the payment turns out to have settled in the same moment."""
    gateway = Scripted([("cancel", ends("settled"))])
    record, _ = serve(gateway, Kind.CHANGES_MIND, picture)
    assert names(gateway) == ["open", "cancel"]
    assert record.state == "settled"


def test_who_walks_away_leaves_the_intent_open(picture: Path) -> None:
    """Nothing is asked after the opening."""
    gateway = Scripted([])
    record, camera = serve(gateway, Kind.WALKS_AWAY, picture)
    assert record.outcome is None
    assert record.intent_id == INTENT
    assert [name for name, *_ in gateway.asked] == ["open"]
    assert camera.scenes == []


def test_a_refund_is_asked_and_awaited(picture: Path) -> None:
    """After the settlement, with a key of its own."""
    gateway = Scripted([("", ends("settled")), ("refunds", ends("refunded", derived_id("refund")))])
    record, _ = serve(gateway, Kind.REFUND, picture)
    assert record.refund is not None
    assert record.refund.outcome == "refunded"
    assert [key is not None for name, _, key in gateway.asked if name in {"open", "refunds"}] == [True, True]


def test_an_unanswered_open_is_repeated_with_the_same_key(picture: Path) -> None:
    """Connection refused, 503 and 504 leave it unknown whether it counted; the key makes the repetition safe."""
    gateway = Scripted([("", ends("settled"))], failures=[0, 503, 504])
    record, _ = serve(gateway, Kind.PLAIN, picture)
    opens = [(body, key) for name, body, key in gateway.asked if name == "open"]
    assert len(opens) == 4
    assert all(each == opens[0] for each in opens)
    assert record.state == "settled"


def test_a_refusal_is_not_repeated(picture: Path) -> None:
    """409 and the like mean no, and are noted."""
    gateway = Scripted([], failures=[409])
    record, _ = serve(gateway, Kind.PLAIN, picture)
    assert names(gateway) == ["open"]
    assert record.error is not None
    assert record.state == "failed"


def test_patience_ends() -> None:
    """Nobody answers: one sentence, after the time that was given."""

    async def run() -> None:
        async with httpx.AsyncClient(transport=httpx.MockTransport(Scripted([], failures=[503] * 99))) as http:
            client = GatewayClient(http, "http://gateway", CREDENTIALS)
            with pytest.raises(OutsideError, match="status 503"):
                await client.open("key", order_id="order", amount_minor=1, currency="CNY", ttl_ms=1000, patience_s=0.2)
            assert client.repeated > 0

    asyncio.run(run())


@pytest.mark.parametrize("body", [b"no json", b"[]"])
def test_an_answer_that_is_no_object_is_refused(body: bytes) -> None:
    """A proxy's page is no answer of the gateway."""

    async def run() -> None:
        transport = httpx.MockTransport(lambda _: httpx.Response(200, content=body))
        async with httpx.AsyncClient(transport=transport) as http:
            client = GatewayClient(http, "http://gateway", CREDENTIALS)
            with pytest.raises(GatewayRefusal, match="no_json"):
                await client.look(INTENT, wait_ms=0, after_version=0, patience_s=1)

    asyncio.run(run())
