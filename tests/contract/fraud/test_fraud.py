"""The fraud agent on real Redis: one verdict per intent whatever happens, and never an approval without its state."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
import redis

from agents.risk_state import Mode, RiskState, Write, history_key, verdict_key
from pipeline.domain.features import decode_history, features_sha256
from pipeline.domain.risk import STATE_COLD, STATE_UNAVAILABLE
from pipeline.errors import RedisUnavailable
from pipeline.local import LocalStack
from pipeline.ports import InMessage, Reject
from schemas.codec import decode, encode, sha256_hex
from schemas.events import Verdict
from schemas.ids import derived_id
from tests.contract.fraud.conftest import HISTORY_TTL_MS, Agent, message
from tests.unit.risk.events import MINUTE_US, NOON_US, TRACE, an_id, recognition

DIES_AFTER_KEEPING = """
import os, signal, sys
from agents.risk_state import RiskState
from tests.contract.fraud.conftest import Agent
from tests.unit.risk.events import recognition

class Dying(RiskState):
    def write(self, steps):
        super().write(steps)
        os.kill(os.getpid(), signal.SIGKILL)

agent = Agent(sys.argv[1])
agent.state.__class__ = Dying
agent.verdicts(recognition())
"""


def test_a_verdict_carries_its_evidence(agent: Agent) -> None:
    """A verdict names the recognition's bytes, the features, the policy and the payment, and goes to the terminal's
    lane with its trace."""
    one = recognition()
    (result,) = agent.results(message(one))
    assert not isinstance(result, Reject)
    (emit,) = result
    verdict = decode(emit.value, Verdict)
    assert (emit.topic, emit.key) == ("verdicts", b"till-1")
    assert emit.headers == (("traceparent", TRACE.encode()),)
    assert verdict.event_id == derived_id(one.intent_id, "verdict")
    assert verdict.recognition_sha256 == sha256_hex(encode(one))
    assert (verdict.decision, verdict.methods, verdict.reasons, verdict.terms) == ("approve", (), (), one.terms)
    assert len(verdict.features_sha256) == 64
    assert verdict.policy_version.startswith("rules-1.")


def test_a_replay_repeats_the_bytes(agent: Agent) -> None:
    """The same recognition, later, in the same batch or by another process, gets byte for byte the same verdict, and
    counts as one use."""
    one = recognition()
    first, again = agent.verdicts(one, one)
    agent.now_us += 5_000_000
    restarted = Agent(agent.url, now_us=agent.now_us)
    assert {first, again, *agent.verdicts(one), *restarted.verdicts(one)} == {first}
    _, (known,) = agent.state.read([(one.payer_id, one.intent_id)])
    assert len(decode_history(known.history).uses) == 1


def test_kill_9_between_keeping_and_sending(agent: Agent, root: Path) -> None:
    """A process that dies after the atomic step and before it could send leaves what its successor sends."""
    died = subprocess.run([sys.executable, "-c", DIES_AFTER_KEEPING, agent.url], cwd=root, timeout=60, check=False)
    assert died.returncode == -9
    one = recognition()
    _, (known,) = agent.state.read([(one.payer_id, one.intent_id)])
    agent.now_us += 3_000_000
    assert agent.verdicts(one) == [known.verdict]


def test_two_agents_that_judge_at_once_agree(agent: Agent) -> None:
    """Between an agent's read and its write another one keeps its verdict: both send the same bytes."""
    one = recognition()
    other = Agent(agent.url, now_us=agent.now_us + 1_000)
    read = agent.state.read
    theirs: list[bytes] = []

    def read_then_lose(cases: Any) -> Any:
        found = read(cases)
        if not theirs:
            theirs.extend(other.verdicts(one))
        return found

    agent.state.read = read_then_lose  # type: ignore[method-assign]  # a race, made certain
    assert agent.verdicts(one) == theirs


def test_no_update_is_lost(agent: Agent) -> None:
    """When the payer's history changes between read and write, it is read again: both uses are in it."""
    read = agent.state.read
    raced: list[bool] = []

    def read_then_race(cases: Any) -> Any:
        found = read(cases)
        if not raced:
            raced.append(True)
            Agent(agent.url).verdicts(recognition("another"))
        return found

    agent.state.read = read_then_race  # type: ignore[method-assign]  # a race, made certain
    agent.verdicts(recognition())
    _, (known,) = read([(recognition().payer_id, "")])
    assert {use.intent_id for use in decode_history(known.history).uses} == {
        recognition().intent_id,
        recognition("another").intent_id,
    }


def test_uses_in_one_batch_count_for_each_other(agent: Agent) -> None:
    """Velocity holds inside a batch as between batches: the sixth use is stepped up, the thirteenth declined."""
    batch = [recognition(str(index), at_us=NOON_US + index) for index in range(14)]
    decisions = [verdict.decision for verdict in agent.judged(*batch)]
    assert decisions == ["approve"] * 5 + ["step_up"] * 7 + ["decline"] * 2


def test_velocity_is_per_payer_and_forgets(agent: Agent) -> None:
    """Another payer is not stepped up for it, nor is the same one a window later."""
    agent.verdicts(*[recognition(str(index), at_us=NOON_US + index) for index in range(6)])
    other = recognition("other", payer_id=an_id("payer", "other"), at_us=NOON_US + 10)
    later = recognition("later", at_us=NOON_US + 2 * MINUTE_US)
    assert [verdict.decision for verdict in agent.judged(other, later)] == ["approve", "approve"]


def test_another_payer_for_the_same_intent_is_judged_too(agent: Agent) -> None:
    """Settlement must see a contradiction, so a second payer's verdict is not hidden behind the first."""
    first, second = agent.judged(recognition(), recognition(payer_id=an_id("payer", "other")))
    assert first.intent_id == second.intent_id
    assert first.payer_id != second.payer_id


def test_an_expired_intent_gets_no_verdict(agent: Agent) -> None:
    """At its deadline an intent is over: nothing is sent, nothing is remembered."""
    late = recognition(expires_at_us=NOON_US)
    assert agent.results(message(late)) == [()]
    _, (known,) = agent.state.read([(late.payer_id, late.intent_id)])
    assert (known.verdict, known.history) == (None, None)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"value": None}, "empty"),
        ({"value": b"\xff"}, "not_json"),
        ({"value": b"[]"}, "wrong_type"),
        ({"value": b'{"type":"hint"}'}, "wrong_event"),
        ({"value": encode(recognition()).replace(b'"margin":0.4', b'"margin":"wide"')}, "invalid_field"),
        ({"value": encode(recognition()).replace(b'"amount_minor":2350', b'"amount_minor":0')}, "invalid_field"),
        ({"value": encode(recognition()).replace(b'"similarity":0.73,', b"")}, "invalid_field"),
        ({"key": b"someone-else"}, "wrong_key"),
        ({"value": encode(replace(recognition(), terminal_id="till-9"))}, "terms_mismatch"),
    ],
)
def test_a_bad_record_is_rejected_and_its_neighbours_judged(agent: Agent, change: dict[str, Any], reason: str) -> None:
    """What is no recognition is named and set aside; the records around it get their verdicts."""
    good = message(recognition("good"))
    bad: InMessage = replace(message(recognition()), **change)
    before, rejected, after = agent.results(good, bad, message(recognition("other")))
    assert isinstance(rejected, Reject)
    assert rejected.reason == reason
    assert not isinstance(before, Reject)
    assert not isinstance(after, Reject)
    assert len(before) == len(after) == 1


def test_redis_down_at_start(tmp_path: Path) -> None:
    """With no Redis to be reached every verdict is a step-up that says so, within the budget and without a crash."""
    agent = Agent("redis://127.0.0.1:1/0", timeout_ms=50)
    began = time.monotonic()
    (verdict,) = agent.judged(recognition())
    assert time.monotonic() - began < 1.0
    assert (verdict.decision, verdict.methods, verdict.reasons) == ("step_up", ("pin",), (STATE_UNAVAILABLE,))
    (declined,) = agent.judged(recognition("large", amount_minor=600_000))
    assert declined.decision == "decline"
    assert STATE_UNAVAILABLE in declined.reasons


def test_redis_lost_midway_and_back(own_redis: LocalStack) -> None:
    """While Redis is gone nothing is approved and a replay repeats what was sent; when it is back, approvals are, and
    what was sent meanwhile is in the history and is repeated by another process too."""
    agent = Agent(own_redis.addresses.redis, timeout_ms=1_000)
    agent.state.set_warm()
    assert agent.judged(recognition("before"))[0].decision == "approve"
    own_redis.redis.stop()
    during = recognition("during")
    (sent,) = agent.verdicts(during)
    assert decode(sent, Verdict).reasons == (STATE_UNAVAILABLE,)
    agent.now_us += 1_000
    assert agent.verdicts(during) == [sent]
    own_redis.redis.start()
    assert agent.judged(recognition("after"))[0].decision == "approve"
    successor = Agent(own_redis.addresses.redis, now_us=agent.now_us + 1_000)
    assert successor.verdicts(during) == [sent]
    _, (known,) = successor.state.read([(during.payer_id, during.intent_id)])
    assert len(decode_history(known.history).uses) == 3


def test_a_hanging_redis_costs_no_more_than_the_budget(own_redis: LocalStack) -> None:
    """A Redis that accepts and never answers is given up after the timeout, not waited for."""
    agent = Agent(own_redis.addresses.redis, timeout_ms=100)
    agent.state.set_warm()
    agent.verdicts(recognition("before"))
    own_redis.redis.pause()
    try:
        began = time.monotonic()
        (verdict,) = agent.judged(recognition())
        took_s = time.monotonic() - began
    finally:
        own_redis.redis.resume()
    assert verdict.reasons == (STATE_UNAVAILABLE,)
    assert 0.09 < took_s < 1.0


def test_a_cold_store_is_no_new_payer(agent: Agent, client: redis.Redis) -> None:
    """A Redis that lost its data answers, but nothing is approved until it is filled again; the refill is asked for."""
    client.delete("facepay:fraud:warm")
    (verdict,) = agent.judged(recognition())
    assert (verdict.decision, verdict.reasons) == ("step_up", (STATE_COLD,))
    assert agent.cold == 1
    agent.state.set_warm()
    assert agent.judged(recognition("next"))[0].decision == "approve"


def test_a_forgotten_script_is_loaded_again(agent: Agent, client: redis.Redis) -> None:
    """A Redis that forgot its scripts gets them again, in the midst of a batch."""
    agent.verdicts(recognition("first"))
    client.script_flush()
    assert [v.decision for v in agent.judged(recognition("second"), recognition("third"))] == ["approve", "approve"]


def test_an_unreadable_history_is_begun_anew_and_not_trusted(agent: Agent, client: redis.Redis) -> None:
    """Bytes that are no history are a step-up once; the history that follows is a good one."""
    one = recognition()
    client.hset(history_key(one.payer_id), mapping={"version": 7, "history": b"\x00"})
    (verdict,) = agent.judged(one)
    assert (verdict.decision, verdict.reasons) == ("step_up", (STATE_UNAVAILABLE,))
    assert agent.judged(recognition("next"))[0].decision == "approve"


def test_keys_hold_pseudonyms_and_expire(agent: Agent, client: redis.Redis) -> None:
    """Every key lives for a bounded time and names nothing but payer and intent ids; one payer's share a slot."""
    one = recognition()
    agent.verdicts(one)
    keys = {key.decode() for key in client.scan_iter("facepay:fraud:{*")}
    assert keys == {history_key(one.payer_id), verdict_key(one.payer_id, one.intent_id)}
    for key in keys:
        assert f"{{{one.payer_id}}}" in key
        assert client.pttl(key) > 0
    assert client.pttl(history_key(one.payer_id)) <= HISTORY_TTL_MS


def test_the_features_hash_is_of_the_features_judged_by(agent: Agent) -> None:
    """An auditor who knows history and recognition computes the verdict's hash again."""
    from pipeline.domain.features import History, features

    one = recognition()
    (verdict,) = agent.judged(one)
    assert verdict.features_sha256 == features_sha256(features(History(), one, agent.handler._windows))


def test_an_atomic_step_keeps_both_or_neither(agent: Agent) -> None:
    """A step on a stale history keeps no verdict; a step for a judged intent changes no history."""
    one = recognition()
    stale = Write(one.payer_id, one.intent_id, 3, b"[1]", b"verdict")
    assert not agent.state.write([stale])[0].kept
    _, (known,) = agent.state.read([(one.payer_id, one.intent_id)])
    assert (known.verdict, known.version) == (None, 0)
    kept, repeated = agent.state.write([replace(stale, version=0), replace(stale, version=1, verdict=b"other")])
    assert kept.kept
    assert (repeated.kept, repeated.stored) == (False, b"verdict")
    replaced = agent.state.write([replace(stale, version=1, verdict=b"sent", mode=Mode.REPLACE)])[0]
    assert replaced.kept
    assert agent.state.read([(one.payer_id, one.intent_id)])[1][0].verdict == b"sent"


def test_an_error_reply_is_unavailability(client: redis.Redis, redis_url: str) -> None:
    """A key of another kind, a full server, a wrong password: all are an unavailable store, never a crash."""
    client.set(history_key("p"), orjson.dumps("no hash"))
    state = RiskState(redis_url, timeout_ms=1_000, history_ttl_ms=1_000)
    with pytest.raises(RedisUnavailable):
        state.read([("p", "i")])
    client.delete(history_key("p"))
