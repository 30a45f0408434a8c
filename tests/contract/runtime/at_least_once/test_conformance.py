"""One suite over both at-least-once loops: what `BatchLoop` and `FaustWorker` promise, on real Kafka, as processes.

Each test says what breaks when its guard is taken out. Duplicates are allowed only where a process was killed, and then
no more than what it had in flight and finished since its last commit.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from pathlib import Path

from confluent_kafka import Producer

from pipeline.keys.seals import AesGcmSeal
from pipeline.runtime.deadletters import associated
from pipeline.runtime.producer import make_producer
from tests.contract.runtime.at_least_once.echo import Bench, MakeBench, Worker, key_of, numbered
from tests.contract.runtime.at_least_once.echo_worker import DEADLETTER_KEY, POISON, STUMBLE
from tests.contract.runtime.topic_config import set_topic_config
from tests.stack import wait_until

UNEXPECTED = 70
BATCH = 16
"""Records per batch at most (`Plan.max_batch`)."""
IN_FLIGHT = 2 * BATCH + 2 * BATCH
"""Records that a worker may hold unacknowledged: two batches in the handler, and a batch finished or being sent."""
LATEST_COMMIT_S = 0.75
"""Both loops commit more often than this, also on a busy machine."""


def test_everything_comes_out_once_and_in_order(bench: MakeBench) -> None:
    """On the partition that its key has everywhere, with its headers, in the order in which it went in."""
    b = bench()
    worker = b.started()
    b.send(numbered(500))
    b.wait_all_out()
    assert set(b.counts().values()) == {1}
    positions: dict[int, list[int]] = {}
    for message in b.out():
        partition, offset = (int(part) for part in (message.header("at") or b"").split(b":"))
        assert message.partition == partition, "the loop's producer has another partitioner"
        assert message.key == key_of(message.value or b"")
        assert message.header("traceparent") == b"00-t"
        positions.setdefault(partition, []).append(offset)
    assert all(offsets == sorted(offsets) for offsets in positions.values())
    wait_until(lambda: worker.metric("facepay_emitted_records_total") == 500, 5, "the metric of what was emitted")
    assert worker.metric("facepay_consumed_records_total") == 500
    wait_until(lambda: sum(b.committed().values()) == 500, 5, "everything to be committed")
    assert worker.process.cwd is not None
    assert list(worker.process.cwd.iterdir()) == [], "it leaves things where it runs"


def test_nothing_is_lost_when_it_is_killed_and_little_is_repeated(bench: MakeBench) -> None:
    """kill -9 twice in the midst of a backlog. Without offsets stored after the deed, records are lost; a commit
    that lags or is set back repeats more than was in flight."""
    b = bench()
    worker = b.started(batch_ms=30)
    b.send(numbered(900))
    kills = 2
    for kill in range(kills):
        done = len(b.sent) * (kill + 1) // (kills + 2)
        wait_until(lambda done=done: len(b.counts()) >= done, 30, f"{done} records out")  # type: ignore[misc]
        worker.process.kill()
        worker.start()
    b.wait_all_out()
    per_s = BATCH / 0.030
    repeated = sum(b.counts().values()) - len(b.sent)
    assert repeated <= kills * (IN_FLIGHT + LATEST_COMMIT_S * per_s)


def test_poison_is_buried_and_its_neighbours_go_on(bench: MakeBench) -> None:
    """A batch with a record that can never be processed: its neighbours come out, the letter opens at its position."""
    b = bench()
    b.started()
    good = numbered(60)
    mixed = [
        value for n, value in enumerate(good) for value in ((value, POISON + b"%d" % n) if n % 20 == 0 else (value,))
    ]
    b.send(mixed)
    b.sent = good
    b.wait_all_out()
    wait_until(lambda: len(b.letters()) == 3, 10, "three letters")
    assert set(b.counts()) == set(good)
    seal = AesGcmSeal(DEADLETTER_KEY)
    buried = set()
    for letter in b.letters():
        assert (letter.agent, letter.topic, letter.reason) == ("echo", b.source, "poison")
        where = associated((letter.topic, str(letter.partition), str(letter.offset)))
        buried.add(seal.open(_bytes(letter.sealed_value), where))
    assert buried == {POISON + b"0", POISON + b"20", POISON + b"40"}


def test_nothing_is_acknowledged_before_its_delivery_is_confirmed(bench: MakeBench) -> None:
    """Nothing can be confirmed, for the target is not there yet: the records were processed and sent, and must not be
    committed. Without the await of the sends they are, and a kill loses them."""
    b = bench(make_target=False)
    worker = b.started()
    b.send(numbered(40))
    wait_until(lambda: worker.diary("process"), 20, "the handler to see records")
    _holds_for(2 * LATEST_COMMIT_S, lambda: b.committed() == {}, "nothing is committed")
    worker.process.kill()
    b.create_target()
    worker.start()
    b.wait_all_out()


def test_a_failed_delivery_ends_the_process_and_loses_nothing(bench: MakeBench, kafka: str) -> None:
    """The broker refuses one result for its size: exit 70, nothing committed past it; it comes out once it may."""
    b = bench(target_config={"max.message.bytes": "20000"})
    worker = b.started()
    big = b"big-" + b"x" * 50_000
    b.send([*numbered(20), big])
    assert worker.wait_exit(30) == UNEXPECTED, worker.said()
    assert big not in b.counts()
    set_topic_config(kafka, b.target, {"max.message.bytes": "200000"})
    worker.start()
    b.wait_all_out()


def test_an_unexpected_error_ends_the_process_and_loses_nothing(bench: MakeBench, tmp_path: Path) -> None:
    """The handler raises: exit 70 with a log line, and the next run does the batch again."""
    b = bench()
    worker = b.started()
    mended = tmp_path / "mended"
    b.send([*numbered(20), STUMBLE + str(mended).encode()])
    assert worker.wait_exit(30) == UNEXPECTED
    assert "the handler stumbled" in worker.said()
    mended.touch()
    worker.start()
    b.wait_all_out()


def test_sigterm_drains(bench: MakeBench) -> None:
    """SIGTERM in the midst of a backlog: exit 0, what was begun is finished and committed, and nothing is repeated."""
    b = bench()
    worker = b.started(batch_ms=20)
    b.send(numbered(600))
    wait_until(lambda: len(b.counts()) >= 100, 30, "a part to be out")
    assert worker.process.stop(grace_s=15) == 0
    assert len(b.counts()) < 600, "the backlog was too small for this test"
    assert sum(b.committed().values()) == len(b.out())
    worker.start()
    b.wait_all_out()
    assert set(b.counts().values()) == {1}


def test_another_worker_takes_over(bench: MakeBench) -> None:
    """Two share the partitions; one is killed for good; after its session the other has them all. While the second
    joins, in the midst of records, nothing is repeated."""
    b = bench()
    first = b.started(batch_ms=10)
    producer = make_producer(b.kafka)
    second = b.worker(batch_ms=10)
    second.start()
    wait_until(lambda: _share(b, second, producer), 20, "the second worker to get records")
    b.wait_all_out()
    assert set(b.counts().values()) == {1}
    forgotten = {partition for partition, _ in first.diary("forget")}
    assert forgotten >= {partition for partition, _ in second.diary("process")}
    first.process.kill()
    b.send(numbered(100, "z"), producer=producer)
    b.wait_all_out()


def test_a_paused_worker_repeats_but_loses_nothing(bench: MakeBench) -> None:
    """SIGSTOP past its session while another takes over, then SIGCONT: what it held is repeated at most, and it goes on
    as a member."""
    b = bench()
    first = b.started(batch_ms=10)
    producer = make_producer(b.kafka)
    second = b.started(batch_ms=10)
    wait_until(lambda: _share(b, second, producer), 20, "the second worker to get records")
    first.process.pause()
    b.send(numbered(300, "paused"), producer=producer)
    b.wait_all_out(40)
    first.process.resume()
    before = len(first.diary("process"))
    wait_until(lambda: _share(b, first, producer, before), 40, "the paused worker, or its next run, to get records")
    b.wait_all_out()
    repeated = sum(b.counts().values()) - len(b.sent)
    assert repeated <= 2048, "what a paused worker had fetched is the most that it can repeat"


def test_memory_is_restored_before_anything_is_processed(bench: MakeBench) -> None:
    """A restarted worker is shown the records before its committed offset, once, before new ones, and none of them is
    processed again. Without the restore hook it forgets what it had seen."""
    b = bench()
    worker = b.started(restore_window_s=60)
    b.send(numbered(100, "old"))
    wait_until(lambda: sum(b.committed().values()) == 100, 20, "everything to be committed")
    seen = set(worker.diary("process"))
    assert worker.process.stop(grace_s=15) == 0
    Path(worker.plan.diary).unlink()
    b.send(numbered(20, "new"))
    worker.start()
    b.wait_all_out()
    restored = worker.diary("restore")
    assert sorted(restored) == sorted(seen)
    assert seen.isdisjoint(worker.diary("process"))
    lines = Path(worker.plan.diary).read_text("utf-8").splitlines()
    first_processed = next(n for n, line in enumerate(lines) if '"process"' in line)
    assert all('"restore"' not in line for line in lines[first_processed:])


def _share(b: Bench, worker: Worker, producer: Producer, more_than: int = 0) -> bool:
    """Sends a record of each partition; whether `worker` has seen any."""
    b.send(numbered(8, f"share{time.monotonic_ns()}"), producer=producer)
    if not worker.process.alive:
        worker.start()  # a supervisor would: a paused worker may find itself fenced and exit 70
    return len(worker.diary("process")) > more_than


def _holds_for(seconds: float, holds: Callable[[], bool], what: str) -> None:
    """Looks again and again until `seconds` have passed; fails as soon as it does not hold."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        assert holds(), what


def _bytes(base64_text: str) -> bytes:
    return base64.b64decode(base64_text)
