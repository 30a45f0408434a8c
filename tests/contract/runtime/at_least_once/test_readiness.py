"""What both loops say of themselves, and what they do when Kafka is not there: wait, and say so."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.local import LocalStack
from tests.contract.runtime.at_least_once.echo import MakeBench, numbered
from tests.stack import create_topics, wait_until

SEEN_S = 10.0
"""A stall must be seen within this time: a look each second, two seconds for an answer, and a busy machine."""
BACK_S = 20.0


@pytest.fixture(scope="module")
def fragile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """A Kafka to pause and kill; a test leaves it running."""
    with LocalStack(tmp_path_factory.mktemp("fragile"), redis=False) as stack:
        yield stack


def test_a_topic_that_does_not_exist_is_said_in_one_sentence(bench: MakeBench) -> None:
    """Exit 3 after a bounded time, with the topic's name and what to run; no crash loop, no traceback."""
    b = bench()
    worker = b.worker(source=f"{b.source}-not", topic_wait_s=1.0)
    worker.start()
    assert worker.wait_exit(20) == 3
    last = worker.said().splitlines()[-1]
    assert f"{b.source}-not" in last
    assert "facepay topics apply" in last
    assert "Traceback" not in worker.said()


def test_a_topic_that_comes_late_is_waited_for(bench: MakeBench, kafka: str) -> None:
    """`topics apply` may run after the agents were started."""
    b = bench()
    worker = b.worker(source=f"{b.source}-late")
    worker.start()
    wait_until(lambda: "do not exist" in worker.missing().get("kafka", ""), 20, "readiness to name the topic")
    create_topics(kafka, {f"{b.source}-late": 1})
    wait_until(worker.ready, 20, "the worker to be ready")


def test_kafka_that_is_down_at_the_start_is_waited_for(bench: MakeBench, fragile: LocalStack) -> None:
    """Not ready and saying why, alive, and at work once Kafka is there; SIGTERM meanwhile ends it with 0."""
    b = bench(fragile.addresses.kafka)
    fragile.kafka.kill()
    worker, other = b.worker(), b.worker()
    try:
        for one in (worker, other):
            one.start()
        wait_until(lambda: "does not answer" in worker.missing().get("kafka", ""), 20, "readiness to say why")
        assert worker.get("/livez")[0] == 200
        assert other.process.stop(grace_s=15) == 0
    finally:
        fragile.kafka.start()
    wait_until(worker.ready, BACK_S, f"the worker to be ready: {worker.said()}")
    b.send(numbered(20))
    b.wait_all_out()


def test_readiness_sees_a_silent_stall(bench: MakeBench, fragile: LocalStack) -> None:
    """A broker that keeps its connections and answers nothing (SIGSTOP), with nothing waiting that anybody knows of.
    Not ready within a bounded time, ready again after it, nothing lost. Without the watch it looks healthy."""
    b = bench(fragile.addresses.kafka)
    worker = b.started(session_timeout_ms=30_000)
    b.send(numbered(20, "before"))
    b.wait_all_out()
    fragile.kafka.pause()
    try:
        wait_until(lambda: "kafka" in worker.missing(), SEEN_S, "readiness to see that Kafka is silent")
        assert worker.get("/livez")[0] == 200
        assert "facepay_ready_bool" in worker.get("/metrics")[1]
        assert worker.metric("facepay_ready_bool") == 0
    finally:
        fragile.kafka.resume()
    wait_until(worker.ready, BACK_S, f"the worker to be ready again: {worker.missing()}")
    b.send(numbered(20, "after"))
    b.wait_all_out()


def test_nothing_is_lost_when_the_broker_is_killed(bench: MakeBench, fragile: LocalStack) -> None:
    """kill -9 of the broker in the midst of a backlog: the worker goes on, or ends with 70 and its next run does."""
    b = bench(fragile.addresses.kafka)
    worker = b.started(batch_ms=20)
    b.send(numbered(600))
    wait_until(lambda: len(b.counts()) >= 100, 30, "a part to be out")
    fragile.kafka.kill()
    if b.loop == "faust":  # whose client goes on as if it still had its partitions
        wait_until(lambda: "coordinator" in worker.missing(), SEEN_S, "readiness to see that the coordinator is gone")
    fragile.kafka.start()

    def all_out() -> bool:
        if not worker.process.alive:
            assert worker.process.returncode == 70
            worker.start()
        return set(b.sent) <= set(b.counts())

    wait_until(all_out, 60, f"600 records out: {worker.said()[-2000:]}")


def test_readiness_sees_that_nothing_is_finished(bench: MakeBench) -> None:
    """Kafka answers, records wait, and the handler hangs: not ready after `stall_s`, with how many wait."""
    b = bench()
    worker = b.started(batch_ms=5_000, stall_s=1.0)
    b.send(numbered(100))
    wait_until(lambda: "records wait" in worker.missing().get("progress", ""), 8, "readiness to see the stall")
    assert 0 < worker.metric("facepay_lag_records") <= 100
    wait_until(lambda: worker.metric("facepay_lag_seconds") > 0, 5, "how long they have waited")


def test_nothing_is_consumed_before_the_handler_is_ready(bench: MakeBench, tmp_path: Path) -> None:
    """A gallery is still being read: not ready, nothing consumed; then at once."""
    loading = tmp_path / "loading"
    loading.touch()
    b = bench()
    worker = b.worker(unready_while=str(loading))
    worker.start()
    b.send(numbered(10))
    wait_until(lambda: "handler" in worker.missing(), 20, "readiness to name the handler")
    assert worker.diary("process") == []
    loading.unlink()
    began = time.monotonic()
    b.wait_all_out()
    assert time.monotonic() - began < 15
