"""PINs at the gateway on real Redis: counted before they are looked at, locked in time, never shown, fail closed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import redis
import structlog

from pipeline.local import LocalStack
from schemas.events import Confirm, PaymentTerms, Verdict
from tests.contract.gateway.conftest import PIN, Served, Till, World, error_of, make_world

LIMIT = 3
LOCK_S = 2


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, kafka: str, redis_url: str) -> World:
    """A world in which three wrong PINs lock for two seconds."""
    made = make_world(tmp_path_factory.mktemp("pins"), kafka, redis_url)
    made.limits = {"max_pin_failures": LIMIT, "pin_lock_s": LOCK_S}
    return made


def awaiting(till: Till, world: World, payer_id: str, key: str = "key-1") -> tuple[PaymentTerms, Verdict]:
    """An intent that waits for that payer's PIN."""
    terms = till.opened(key)
    verdict = world.judge(terms, "step_up", payer_id)
    till.until(terms.intent_id, "awaiting_confirmation")
    return terms, verdict


def confirmations(world: World, terms: PaymentTerms) -> int:
    """How many confirmations of an intent were sent."""
    return sum(isinstance(command, Confirm) for command in world.commands(terms.intent_id))


def test_wrong_pins_are_counted_and_lock(till: Till, world: World) -> None:
    """Each wrong PIN says what is left; then even the right one is refused, unchecked, until the lock's time is over.
    The count is the payer's: another intent of another terminal's verdict does not begin anew."""
    payer_id = world.enrol()
    terms, verdict = awaiting(till, world, payer_id)
    for left in (2, 1, 0):
        answer = till.confirm(terms.intent_id, verdict.event_id, "0000")
        assert error_of(answer) == (403, "wrong_pin")
        assert answer.json()["error"]["attempts_left"] == left
    locked = till.confirm(terms.intent_id, verdict.event_id)
    assert error_of(locked) == (423, "pin_locked")
    assert 1 <= int(locked.headers["Retry-After"]) <= LOCK_S
    other, others = awaiting(till, world, payer_id, "other")
    assert error_of(till.confirm(other.intent_id, others.event_id)) == (423, "pin_locked")
    assert confirmations(world, terms) == confirmations(world, other) == 0
    deadline = time.monotonic() + 20
    while (answer := till.confirm(other.intent_id, others.event_id)).status_code == 423:
        assert time.monotonic() < deadline
    assert answer.status_code == 202
    assert confirmations(world, other) == 1


def test_guessing_at_once_gains_nothing(till: Till, world: World) -> None:
    """Twenty wrong PINs at the same moment: no more than the limit are looked at."""
    terms, verdict = awaiting(till, world, world.enrol())
    with ThreadPoolExecutor(20) as threads:
        answers = list(
            threads.map(lambda number: till.confirm(terms.intent_id, verdict.event_id, f"{number:04}"), range(20))
        )
    codes = [error_of(answer) for answer in answers]
    assert codes.count((403, "wrong_pin")) == LIMIT
    assert codes.count((423, "pin_locked")) == 20 - LIMIT


def test_a_right_pin_clears_the_count(till: Till, world: World, redis_url: str) -> None:
    """After the right PIN the payer has all attempts again."""
    payer_id = world.enrol()
    terms, verdict = awaiting(till, world, payer_id)
    till.confirm(terms.intent_id, verdict.event_id, "0000")
    assert till.confirm(terms.intent_id, verdict.event_id).status_code == 202
    with redis.Redis.from_url(redis_url) as client:
        assert not list(client.scan_iter(f"facepay:pin:*{payer_id}*"))


def test_a_payer_without_pin_and_an_erased_one(till: Till, world: World) -> None:
    """No profile, a tombstone or a verifier that is another payer's: no PIN is right."""
    nobody, erased, mixed = world.enrol(), world.enrol(), world.enrol()
    world.put("payers", nobody, None)
    world.put("payers", erased, None)
    terms, verdict = awaiting(till, world, erased)
    assert error_of(till.confirm(terms.intent_id, verdict.event_id)) == (409, "pin_not_set")
    from pipeline.runtime.reader import read_topic

    values = [m.value for m in read_topic(world.kafka, "payers", read_committed=False) if m.key == mixed.encode()]
    assert values[0] is not None
    world.put("payers", nobody, values[0].replace(mixed.encode(), nobody.encode()))
    terms, verdict = awaiting(till, world, nobody, "swapped")
    deadline = time.monotonic() + 20
    while error_of(answer := till.confirm(terms.intent_id, verdict.event_id)) == (409, "pin_not_set"):
        assert time.monotonic() < deadline
    assert error_of(answer) == (503, "pin_unavailable")
    assert confirmations(world, terms) == 0


@pytest.mark.parametrize("pin", ["123", "1234567890123", "12a4", "\uff11\uff12\uff13\uff14", " 1234", ""])
def test_what_is_no_pin_is_not_echoed(till: Till, world: World, pin: str) -> None:
    """A malformed PIN is refused by its form, uncounted, and is not in the answer."""
    payer_id = world.enrol()
    terms, verdict = awaiting(till, world, payer_id)
    answer = till.confirm(terms.intent_id, verdict.event_id, pin)
    assert error_of(answer) == (422, "invalid_request")
    assert not pin.strip() or pin not in answer.text
    assert till.confirm(terms.intent_id, verdict.event_id, "0000").json()["error"]["attempts_left"] == LIMIT - 1


def test_a_pin_is_nowhere(till: Till, world: World, capfd: pytest.CaptureFixture[str]) -> None:
    """Not in logs, answers, commands or metrics: right, wrong, or in a body that is not understood."""
    terms, verdict = awaiting(till, world, world.enrol())
    secrets = (PIN, "55512399", "98765432")
    path = f"/v1/intents/{terms.intent_id}/confirm"
    with structlog.testing.capture_logs() as logs:
        texts = [
            till.http.post(path, json={"verdict_id": verdict.event_id, "pin": secrets[1], "more": 1}).text,
            till.http.post(path, content=f'{{"pin":"{secrets[1]}"').text,
            till.http.post(path, json={"verdict_id": secrets[1], "pin": int(secrets[1])}).text,
            till.confirm(terms.intent_id, verdict.event_id, secrets[2]).text,
            till.confirm(terms.intent_id, verdict.event_id, PIN).text,
            till.http.get("/metrics").text,
        ]
    out, err = capfd.readouterr()
    texts += [str(logs), out, err, str(world.commands(terms.intent_id))]
    assert not [secret for secret in secrets for text in texts if secret in text]


@pytest.fixture
def lonely(tmp_path: Path, kafka: str) -> Iterator[tuple[World, LocalStack]]:
    """A world whose Redis is a test's own."""
    with LocalStack(tmp_path / "redis", kafka=False) as own:
        yield make_world(tmp_path, kafka, own.addresses.redis), own


def test_without_redis_no_pin_is_checked(lonely: tuple[World, LocalStack]) -> None:
    """Redis gone, or hanging: right and wrong PINs get the same answer, nothing is sent, the rest of the gateway goes
    on, and when Redis is back the same intent can be confirmed."""
    world, own = lonely
    with world.gateway() as served, world.till(served, world.terminal()) as till:
        terms, verdict = awaiting(till, world, world.enrol())
        for away, back in ((own.redis.stop, own.redis.start), (own.redis.pause, own.redis.resume)):
            away()
            for pin in (PIN, "0000"):
                answer = till.confirm(terms.intent_id, verdict.event_id, pin)
                assert error_of(answer) == (503, "pin_unavailable")
                assert "Retry-After" in answer.headers
            assert till.opened(away.__name__).amount_minor == 2_350
            back()
        deadline = time.monotonic() + 20
        while (answer := till.confirm(terms.intent_id, verdict.event_id)).status_code == 503:
            assert time.monotonic() < deadline
        assert (answer.status_code, confirmations(world, terms)) == (202, 1)


def test_redis_down_at_start(tmp_path: Path, kafka: str) -> None:
    """A gateway starts without Redis and serves all that needs none."""
    world = make_world(tmp_path, kafka, "redis://127.0.0.1:1/0")
    with world.gateway() as served, world.till(served, world.terminal()) as till:
        terms, verdict = awaiting(till, world, world.enrol())
        assert error_of(till.confirm(terms.intent_id, verdict.event_id)) == (503, "pin_unavailable")
        assert isinstance(served, Served)
