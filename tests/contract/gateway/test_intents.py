"""The HTTP interface on real Kafka and Redis: commands exactly as asked, each once, seen by their own terminal only."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from pipeline.keys.confirmations import verify
from schemas.events import Cancel, Confirm, NoteHint, OpenIntent, Refund
from tests.contract.gateway.conftest import PIN, Served, Till, World, error_of, now_us
from tests.stack import unique, wait_until


def test_an_opened_intent_is_one_command(till: Till, world: World) -> None:
    """Opening answers with the terms that are in the one command on the topic."""
    before_us = now_us()
    answer = till.open(ttl_ms=5_000)
    assert answer.status_code == 201
    body = answer.json()
    (command,) = world.commands(body["intent_id"])
    assert isinstance(command, OpenIntent)
    terms = command.terms
    assert {**body, "terms": None} == {
        "intent_id": command.intent_id,
        "state": "open",
        "version": 1,
        "lane_seq": command.lane_seq,
        "terms": None,
        "trace": command.trace,
    }
    assert body["terms"]["amount_minor"] == terms.amount_minor == 2_350
    assert (terms.merchant_id, terms.payee_id, terms.currency) == ("noodle-house", "noodle-house-main", "CNY")
    assert before_us <= terms.opened_at_us <= now_us()
    assert terms.expires_at_us - terms.opened_at_us == 5_000_000
    assert command.lane_seq >= terms.opened_at_us
    assert till.look(command.intent_id) == {
        "intent_id": command.intent_id,
        "state": "open",
        "version": 1,
        "hint": None,
        "verdict": None,
        "outcome": None,
        "refunds": [],
    }


def test_a_repeat_is_the_same_intent(till: Till, world: World) -> None:
    """The same key and body again: 200, the same body to the byte, no second command; another body is a conflict."""
    first = till.open("again")
    second = till.open("again")
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.content == second.content
    assert len(world.commands(first.json()["intent_id"])) == 1
    for other in ({"amount_minor": 2_351}, {"merchant_order_id": "order-2"}, {"ttl_ms": 5_000}):
        assert error_of(till.open("again", **other)) == (409, "idempotency_conflict")
    assert len(world.commands(first.json()["intent_id"])) == 1


def test_repeats_at_once_are_one_command(till: Till, world: World) -> None:
    """Ten identical requests at the same moment: one of them opened it, all have the same answer, one command."""
    with ThreadPoolExecutor(10) as threads:
        answers = list(threads.map(lambda _: till.open("at-once"), range(10)))
    assert sorted(answer.status_code for answer in answers) == [200] * 9 + [201]
    assert len({answer.content for answer in answers}) == 1
    assert len(world.commands(answers[0].json()["intent_id"])) == 1


def test_different_requests_at_once_are_in_order(till: Till, world: World) -> None:
    """Intents opened at the same moment have different places in their lane."""
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda number: till.open(f"lane-{number}"), range(8)))
    assert len({answer.json()["lane_seq"] for answer in answers}) == 8


def test_two_gateways_and_a_restart_know_the_same(world: World, served: Served) -> None:
    """A repeat at another gateway, or at one that was started since, is found in the topics: 200 and the same body."""
    terminal_id = world.terminal()
    with world.till(served, terminal_id) as till:
        first = till.open("restart")
        terms = till.opened("verdict")
        world.judge(terms, "step_up")
        till.until(terms.intent_id, "awaiting_confirmation")
    with world.gateway() as other, world.till(other, terminal_id) as till:
        again = till.open("restart")
        assert (again.status_code, again.content) == (200, first.content)
        assert error_of(till.open("restart", amount_minor=1)) == (409, "idempotency_conflict")
        assert till.look(terms.intent_id)["state"] == "awaiting_confirmation"
        assert till.open("newer").json()["lane_seq"] > first.json()["lane_seq"]
    assert len(world.commands(first.json()["intent_id"])) == 1


def test_two_gateways_at_once_give_one_answer(world: World, served: Served) -> None:
    """The same request at two gateways at the same moment: whatever was sent, the first command in the topic is what
    both answer."""
    terminal_id = world.terminal()
    with world.gateway() as other, world.till(served, terminal_id) as here, world.till(other, terminal_id) as there:
        for number in range(10):
            with ThreadPoolExecutor(2) as threads:
                answers = list(threads.map(lambda till: till.open(f"both-{number}"), (here, there)))  # noqa: B023
            assert answers[0].content == answers[1].content
            commands = world.commands(answers[0].json()["intent_id"])
            assert isinstance(commands[0], OpenIntent)
            assert commands[0].trace == answers[0].json()["trace"]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"amount_minor": 0}, 422, "invalid_request"),
        ({"amount_minor": -1}, 422, "invalid_request"),
        ({"amount_minor": 10**12 + 1}, 422, "invalid_request"),
        ({"amount_minor": "2350"}, 422, "invalid_request"),
        ({"amount_minor": 1.5}, 422, "invalid_request"),
        ({"amount_minor": True}, 422, "invalid_request"),
        ({"amount_minor": None}, 422, "invalid_request"),
        ({"currency": "cny"}, 422, "invalid_request"),
        ({"currency": "USD"}, 422, "wrong_currency"),
        ({"merchant_order_id": ""}, 422, "invalid_request"),
        ({"merchant_order_id": "a\x1fb"}, 422, "invalid_request"),
        ({"merchant_order_id": "x" * 65}, 422, "invalid_request"),
        ({"ttl_ms": 999}, 422, "invalid_request"),
        ({"ttl_ms": 120_001}, 422, "invalid_request"),
        ({"tip_minor": 1}, 422, "invalid_request"),
        ({"merchant_order_id": "x" * 20_000}, 413, "too_large"),
    ],
)
def test_what_is_not_understood_is_refused(till: Till, body: dict[str, Any], status: int, code: str) -> None:
    """A wrong type, value, size or an unknown field is an error with a code, and no intent."""
    assert error_of(till.open(**body)) == (status, code)


def test_requests_that_are_no_request(till: Till) -> None:
    """No JSON, no key, a bad key, a wrong route or method, a body without a declared length: each a JSON error."""
    key = {"Idempotency-Key": "k"}
    post = till.http.post
    assert error_of(post("/v1/intents", headers=key, content=b"{")) == (422, "invalid_request")
    assert error_of(post("/v1/intents", headers=key, content=b"[]")) == (422, "invalid_request")
    body = {"merchant_order_id": "o", "amount_minor": 1, "currency": "CNY"}
    assert error_of(post("/v1/intents", json=body)) == (422, "invalid_request")
    assert error_of(post("/v1/intents", headers={"Idempotency-Key": "a b"}, json=body)) == (422, "invalid_request")
    assert error_of(post("/v1/intents", headers=key, content=iter([b" " * 9_000] * 2))) == (413, "too_large")
    assert error_of(till.http.get("/v1/nothing")) == (404, "no_such_route")
    assert error_of(till.http.put("/v1/intents")) == (405, "wrong_method")
    assert error_of(till.http.get("/v1/intents/x", params={"wait_ms": 30_001})) == (422, "invalid_request")


def test_a_stranger_learns_nothing(till: Till, world: World, served: Served) -> None:
    """Without its token a terminal is nobody; another terminal's intent does not exist for it, by any route."""
    terms = till.opened()
    path = f"/v1/intents/{terms.intent_id}"
    bad = {"Authorization": "Bearer " + "0" * 64}
    assert error_of(till.http.get(path, headers=bad)) == (401, "unauthorised")
    assert error_of(till.http.get(path, headers={"X-Terminal-Id": "nobody"})) == (401, "unauthorised")
    with world.till(served, world.terminal()) as other:
        asked = [
            other.http.get(path),
            other.http.get(path, params={"wait_ms": 10_000, "after_version": 1}),
            other.http.get(f"{path}/events"),
            other.confirm(terms.intent_id, terms.intent_id),
            other.http.post(f"{path}/cancel", json={"reason": "spite"}),
            other.http.post(f"{path}/refunds", headers={"Idempotency-Key": "k"}, json={"amount_minor": 1}),
        ]
        assert [error_of(answer) for answer in asked] == [(404, "no_such_intent")] * len(asked)
        assert other.lease().status_code == 204
        assert other.http.get("/v1/terminals/self").json()["terminal_id"] == other.terminal_id


def test_a_long_poll_ends_with_the_news(till: Till, world: World) -> None:
    """A wait is answered by the verdict, then by the outcome; without news it ends in its time with what is known."""
    terms = till.opened()
    assert till.look(terms.intent_id, wait_ms=50, after_version=1)["version"] == 1
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(till.look, terms.intent_id, wait_ms=30_000, after_version=1)
        verdict = world.judge(terms)
        view = waiting.result(20)
        assert view["verdict"] == {
            "verdict_id": verdict.event_id,
            "decision": "approve",
            "methods": [],
            "reasons": [],
        }
        waiting = threads.submit(till.look, terms.intent_id, wait_ms=30_000)
        settlement = world.settle(terms)
        view = waiting.result(20)
    assert (view["state"], view["outcome"]["event_id"]) == ("settled", settlement.event_id)
    assert till.look(terms.intent_id, wait_ms=30_000) == view, "a settled intent is not waited for"


def test_a_cancel_is_one_command_and_the_outcome_decides(till: Till, world: World) -> None:
    """Cancelling twice sends one command; what became of it is settlement's word; after the outcome it is too late."""
    terms = till.opened()
    path = f"/v1/intents/{terms.intent_id}/cancel"
    answers = [till.http.post(path, json={"reason": "customer_left"}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 202]
    (cancel,) = [command for command in world.commands(terms.intent_id) if isinstance(command, Cancel)]
    assert cancel.reason == "customer_left"
    assert till.lease().status_code == 204
    world.settle(terms, "cancelled")
    till.until(terms.intent_id, "cancelled")
    other = till.opened("other")
    world.settle(other)
    till.until(other.intent_id, "settled")
    assert error_of(till.http.post(f"/v1/intents/{other.intent_id}/cancel", json={})) == (409, "already_final")


def test_a_refund_is_one_command_per_key(till: Till, world: World) -> None:
    """Only a settled intent; a repeat is the same refund, another amount a conflict; the answer shows in the intent."""
    terms = till.opened()
    path = f"/v1/intents/{terms.intent_id}/refunds"

    def refund(key: str, amount_minor: int) -> Any:
        return till.http.post(path, headers={"Idempotency-Key": key}, json={"amount_minor": amount_minor})

    assert error_of(refund("r1", 100)) == (409, "not_settled")
    world.settle(terms)
    till.until(terms.intent_id, "settled")
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: refund("r1", 100), range(4)))
    assert [answer.status_code for answer in answers] == [202] * 4
    assert len({answer.content for answer in answers}) == 1
    assert error_of(refund("r1", 101)) == (409, "idempotency_conflict")
    assert refund("r2", 100).json() != answers[0].json()
    sent = [command for command in world.commands(terms.intent_id) if isinstance(command, Refund)]
    assert [(command.amount_minor, command.currency) for command in sent] == [(100, "CNY")] * 2
    version = till.look(terms.intent_id)["version"]
    refunded = world.settle(terms, "refunded", "refund-event")
    view = till.look(terms.intent_id, wait_ms=20_000, after_version=version)
    assert [event["event_id"] for event in view["refunds"]] == [refunded.event_id]
    assert view["state"] == "settled"


def test_a_lease_holds_while_frames_can_decide(till: Till, world: World) -> None:
    """Cameras get the open intent, also when they waited for it, for a short time; none after its verdict."""
    assert till.lease().status_code == 204
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(till.lease, wait_ms=30_000)
        terms = till.opened()
        lease = waiting.result(20).json()
    assert lease["terms"]["intent_id"] == terms.intent_id
    assert lease["camera_until_us"] <= now_us() + 1_000_000
    newer = till.opened("newer")
    assert till.lease().json()["terms"]["intent_id"] == newer.intent_id
    world.judge(newer)
    till.until(newer.intent_id, "authorising")
    assert till.lease().status_code == 204


def test_settlement_is_told_the_newest_hint(till: Till, world: World) -> None:
    """A hint with a new code becomes a command, the same code again does not; the terminal sees the newest."""
    terms = till.opened()

    def noted() -> list[str]:
        return [command.code for command in world.commands(terms.intent_id) if isinstance(command, NoteHint)]

    world.hint(terms, "come_closer")
    wait_until(lambda: noted() == ["come_closer"], 20, "the first hint is noted")
    world.hint(terms, "come_closer")
    world.hint(terms, "not_recognised", final=True)
    wait_until(lambda: noted() == ["come_closer", "not_recognised"], 20, "the other hint is noted")
    hint = till.look(terms.intent_id)["hint"]
    assert (hint["code"], hint["final"]) == ("not_recognised", True)
    assert till.lease().status_code == 204


def test_a_confirmation_is_bound_to_what_was_agreed(till: Till, world: World) -> None:
    """The right PIN for the verdict that asked for it is one command whose MAC covers payment and payer."""
    payer_id = world.enrol()
    terms = till.opened()
    nothing = till.confirm(terms.intent_id, terms.intent_id)
    assert error_of(nothing) == (409, "nothing_to_confirm")
    verdict = world.judge(terms, "step_up", payer_id)
    till.until(terms.intent_id, "awaiting_confirmation")
    assert error_of(till.confirm(terms.intent_id, terms.intent_id)) == (409, "nothing_to_confirm")
    answer = till.confirm(terms.intent_id, verdict.event_id)
    assert (answer.status_code, answer.json()["state"]) == (202, "authorising")
    assert till.confirm(terms.intent_id, verdict.event_id).status_code == 202
    (confirm,) = [command for command in world.commands(terms.intent_id) if isinstance(command, Confirm)]
    assert (confirm.payer_id, confirm.verdict_id, confirm.method) == (payer_id, verdict.event_id, "pin")
    assert verify(
        world.keyring.secret("confirmation"),
        confirm.mac,
        intent_id=terms.intent_id,
        verdict_id=verdict.event_id,
        payer_id=payer_id,
        amount_minor=terms.amount_minor,
        currency=terms.currency,
        payee_id=terms.payee_id,
    )


def test_an_approved_intent_takes_no_pin(till: Till, world: World) -> None:
    """A verdict that asks for nothing cannot be confirmed: there is no way to try PINs on it."""
    terms = till.opened()
    verdict = world.judge(terms, "approve", world.enrol())
    till.until(terms.intent_id, "authorising")
    assert error_of(till.confirm(terms.intent_id, verdict.event_id)) == (409, "nothing_to_confirm")


@pytest.mark.parametrize("outcome", ["expired", "cancelled", "declined"])
def test_what_has_ended_takes_no_pin(till: Till, world: World, outcome: str) -> None:
    """After the outcome a PIN for the step-up that was asked before is refused, unlooked at."""
    terms = till.opened()
    verdict = world.judge(terms, "step_up", world.enrol())
    world.settle(terms, outcome)
    till.until(terms.intent_id, outcome)
    assert error_of(till.confirm(terms.intent_id, verdict.event_id)) == (409, "nothing_to_confirm")


def test_what_is_no_event_is_passed_over(till: Till, world: World) -> None:
    """Bytes that are no event, or an event of a wrong type, on any topic do not stop what follows."""
    terms = till.opened()
    for topic in ("verdicts", "hints", "settlements", "payers"):
        world.put(topic, terms.terminal_id, b"\xff{")
        world.put(topic, terms.terminal_id, b'{"type":"settlement","outcome":7}')
    world.settle(terms)
    till.until(terms.intent_id, "settled")


def test_measured_by_route_and_never_by_id(till: Till, served: Served) -> None:
    """Latency is by route template and status class; no id, PIN or terminal is in the metrics."""
    terms = till.opened()
    till.look(terms.intent_id)
    till.confirm(terms.intent_id, terms.intent_id)
    text = till.http.get("/metrics").text
    assert 'facepay_http_seconds_count{route="/v1/intents/{intent_id}",status="2xx"}' in text
    assert terms.intent_id not in text
    assert till.terminal_id not in text
    assert PIN not in text
    assert till.http.get("/livez").json() == {"ok": True}
    assert served.app.openapi()["paths"]


def test_an_idempotency_key_is_a_terminals_own(world: World, served: Served) -> None:
    """Two terminals that use the same key have two intents."""
    key = unique("key")
    with world.till(served, world.terminal()) as one, world.till(served, world.terminal()) as two:
        assert one.opened(key).intent_id != two.opened(key).intent_id
