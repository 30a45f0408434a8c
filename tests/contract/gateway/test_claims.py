"""Claims over HTTP: sealed on the topics, lent to cameras, the same for a repeat, never told again, and not to be tried
one after the other."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from pipeline.keys.claims import Claim, last_four_tag, open_claim, phone_tag
from pipeline.runtime.reader import read_topic
from schemas.events import OpenIntent, PaymentTerms
from tests.contract.gateway.conftest import Served, Till, World, error_of
from tests.stack import wait_until

NUMBER, TYPED, DIGITS = "+8613912345678", "+86 139-1234 5678", "5678"


def opening(world: World, terms: PaymentTerms) -> OpenIntent:
    """The one command that opened that intent."""
    (command,) = [each for each in world.commands(terms.intent_id) if isinstance(each, OpenIntent)]
    return command


@pytest.mark.parametrize(
    ("claim", "kind", "tag"),
    [({"phone": TYPED}, "full_number", phone_tag), ({"last_four": DIGITS}, "last_four", last_four_tag)],
)
def test_a_claim_reaches_the_cameras_sealed(
    till: Till, world: World, caplog: pytest.LogCaptureFixture, claim: dict[str, str], kind: Any, tag: Any
) -> None:
    """The command and the lease hold one sealed claim, which opens to the number's tag for this intent; the digits are
    in no answer, no log and no byte of the topic."""
    caplog.set_level(logging.DEBUG)
    answer = till.open(claim=claim)
    assert answer.status_code == 201
    terms = PaymentTerms(**answer.json()["terms"])
    sealed = opening(world, terms).claim
    assert sealed is not None
    there = {"terminal_id": till.terminal_id, "intent_id": terms.intent_id}
    assert open_claim(world.keyring, sealed, **there) == Claim(kind, tag(world.keyring, NUMBER))
    lease = till.lease()
    assert lease.json()["claim"] == sealed
    view = till.look(terms.intent_id)
    assert set(view) == {"intent_id", "state", "version", "hint", "verdict", "outcome", "refunds"}
    on_topic = b"".join(m.value or b"" for m in read_topic(world.kafka, "commands", read_committed=False))
    for told in (answer.content, lease.content, on_topic, caplog.text.encode()):
        assert not any(secret.encode() in told for secret in (NUMBER[1:], TYPED, f'"{DIGITS}"'))


def test_without_a_claim_nothing_is_different(till: Till, world: World) -> None:
    """The command has none, and the lease looks as it did before there were claims."""
    terms = till.opened()
    assert opening(world, terms).claim is None
    assert set(till.lease().json()) == {"terms", "trace", "camera_until_us"}


def test_a_repeat_has_the_same_claim(till: Till, world: World) -> None:
    """The same number typed otherwise is the same request; another claim, or none, with the same key is a conflict."""
    first = till.open("again", claim={"phone": NUMBER})
    second = till.open("again", claim={"phone": TYPED})
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.content == second.content
    others: list[dict[str, Any]] = [{"claim": {"phone": "+8613912345679"}}, {"claim": {"last_four": DIGITS}}, {}]
    for other in others:
        assert error_of(till.open("again", **other)) == (409, "idempotency_conflict")
    till.opened("bare")
    assert error_of(till.open("bare", claim={"last_four": DIGITS})) == (409, "idempotency_conflict")
    assert len(world.commands(first.json()["intent_id"])) == 1


@pytest.mark.parametrize(
    "claim",
    [
        {},
        {"phone": None},
        {"phone": NUMBER, "last_four": DIGITS},
        {"phone": "0139 1234 5678"},
        {"phone": 8613912345678},
        {"phone": NUMBER + "0" * 40},
        {"last_four": "567"},
        {"last_four": "56789"},
        {"last_four": "٥٦٧٨"},
        {"last_four": 5678},
        {DIGITS: "last_four"},
        {NUMBER: True},
        DIGITS,
        [DIGITS],
    ],
)
def test_what_is_no_claim_is_refused_unrepeated(till: Till, claim: Any) -> None:
    """Every malformed claim is answered 422, and none of its digits comes back, wherever they stood."""
    answer = till.open(claim=claim)
    assert error_of(answer) == (422, "invalid_request")
    assert not any(digits in answer.text for digits in (DIGITS, "567", "139", "٥٦٧"))


def test_claims_cannot_be_tried_one_after_the_other(world: World) -> None:
    """Once so many claims of a terminal were followed by no verdict, it may claim no more for a while: at this gateway,
    at another and after a restart. Repeats, other terminals and payments without a claim go on, and a claim that was
    proven is not counted."""
    limited = World(world.kafka, world.redis_url, world.keyring, world.registry, {"max_unproven_claims": 3})
    terminal_id = limited.terminal()
    with limited.gateway() as served, limited.till(served, terminal_id) as till:
        proven = till.opened("proven", claim={"last_four": "0000"})
        limited.judge(proven)
        till.until(proven.intent_id, "authorising")
        for number in range(3):
            till.opened(f"guess-{number}", claim={"last_four": f"000{number}"})
        refused = till.open("guess-3", claim={"last_four": "0003"})
        assert error_of(refused) == (429, "too_many_claims")
        assert int(refused.headers["Retry-After"]) == limited.settings.gateway.claim_window_s
        assert till.open("guess-2", claim={"last_four": "0002"}).status_code == 200
        assert till.open("no-claim").status_code == 201
        with limited.till(served, limited.terminal()) as beside:
            assert beside.open(claim={"last_four": "0003"}).status_code == 201
    with limited.gateway() as restarted, limited.till(restarted, terminal_id) as till:
        wait_until(lambda: till.open("guess-2", claim={"last_four": "0002"}).status_code == 200, 30, "the book is read")
        assert error_of(till.open("guess-4", claim={"last_four": "0004"})) == (429, "too_many_claims")


def test_a_newer_intent_of_the_same_order_takes_its_place(till: Till, world: World, served: Served) -> None:
    """A terminal that is asked for digits opens the same order again with the claim: the lane's cameras are lent the
    new intent, and the first, whose hint was final, is lent no more."""
    del served
    first = till.opened("first", merchant_order_id="order-9")
    world.hint(first, "enter_last_four", final=True)
    wait_until(lambda: till.lease().status_code == 204, 30, "a final hint ends the lease")
    assert till.look(first.intent_id)["hint"]["code"] == "enter_last_four"
    second = till.opened("second", merchant_order_id="order-9", claim={"last_four": DIGITS})
    lease = till.lease().json()
    assert lease["terms"]["intent_id"] == second.intent_id != first.intent_id
    assert opening(world, second).lane_seq > opening(world, first).lane_seq
