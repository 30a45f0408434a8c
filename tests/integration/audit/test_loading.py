"""A history read back from the real Kafka and a real ledger: what was written there is what the audit judges."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from confluent_kafka import Producer

from pipeline import settings as tree
from pipeline.audit.history import History
from pipeline.audit.invariants import broken, examine
from pipeline.audit.loading import load
from pipeline.errors import LedgerError
from pipeline.local import LocalStack
from pipeline.ports import OutboxRow
from pipeline.runtime import admin
from pipeline.runtime.reader import read_topic
from pipeline.topics import PARTITIONER
from schemas.codec import encode, sha256_hex
from schemas.events import Event, Recognition
from tests.contract.ledger.world import ALICE, START_US, TRACE, World, confirmation, opening, refund, terms_of, verdict

SECOND_US = 1_000_000


@dataclass
class Recorded:
    """Topics and a ledger that agree, and how to write more."""

    settings: tree.Settings
    producer: Producer
    world: World

    def put(self, topic: str, event: Event | bytes, key: bytes = b"till-1") -> None:
        """Writes a record and waits for its confirmation."""
        self.producer.produce(topic, event if isinstance(event, bytes) else encode(event), key)
        assert self.producer.flush(30) == 0

    def emit(self, row: OutboxRow, producer: Producer | None = None) -> None:
        """Writes an outbox row as the settlement agent does."""
        (producer or self.producer).produce(
            row.topic, row.value, row.key, partition=row.lane, headers=list(row.headers)
        )
        assert (producer or self.producer).flush(30) == 0

    def load(self, since_us: int | None = None) -> History:
        """The audit's view, read a second after the last outcome."""
        return load(self.settings, lambda: START_US + 22 * SECOND_US, since_us=since_us)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorded]:
    """Two payments (by face; with a PIN, refunded in part), one that expired, and a record that is no event."""
    folder = tmp_path_factory.mktemp("audit")
    with LocalStack(folder / "stack", redis=False) as stack:
        kafka = tree.Kafka(bootstrap=stack.addresses.kafka)
        admin.apply(kafka)
        producer = Producer({"bootstrap.servers": kafka.bootstrap, "partitioner": PARTITIONER, "acks": "all"})
        settings = tree.Settings(kafka=kafka, ledger=tree.Ledger(url=f"sqlite:///{folder / 'ledger.db'}"))
        made = Recorded(settings, producer, write(folder, settings, producer))
        yield made
        made.world.store.close()


def write(folder: Path, settings: tree.Settings, producer: Producer) -> World:
    """Events to their topics, from there into the ledger, and what it owes to `settlements`."""
    start = Recorded(settings, producer, None)  # type: ignore[arg-type]  # the ledger's lane is known from the topics
    for name, decision in (("face", "approve"), ("pin", "step_up")):
        seen = Recognition(
            event_id=verdict(name).event_id,
            terminal_id="till-1",
            intent_id=verdict(name).intent_id,
            trace=TRACE,
            terms=terms_of(name),
            payer_id=ALICE,
            similarity=0.8,
            margin=0.5,
            threshold=0.475,
            frames_used=1,
            frames_seen=1,
            gallery_size=9,
            model_sha256="0" * 64,
            captured_at_us=START_US,
            recognised_at_us=START_US,
        )
        start.put("recognitions", seen, ALICE.encode())
        start.put("commands", opening(name, lane_seq=1 if name == "face" else 2))
        start.put("verdicts", replace(verdict(name, decision), recognition_sha256=sha256_hex(encode(seen))))
    start.put("commands", b"no event")
    start.put("commands", confirmation("pin"))
    start.put("commands", refund("pin", 250))
    start.put("commands", opening("nobody", lane_seq=3))
    messages = [
        m for topic in ("commands", "verdicts") for m in read_topic(settings.kafka, topic, read_committed=False)
    ]
    (lane,) = {message.partition for message in messages}
    world = World(folder / "ledger.db", lane=lane)
    order = ("face", "pin")
    commands = [message for message in messages if message.topic == "commands"]
    verdicts = [message for message in messages if message.topic == "verdicts"]
    for number, _ in enumerate(order):
        world.apply(commands[number])
        world.apply(verdicts[number])
    world.apply(*commands[len(order) :])
    world.tick(21)
    for row in world.store.outbox_after(lane, 0, 1000):
        Recorded(settings, producer, world).emit(row)
    return world


def audit(recorded: Recorded, *more: str) -> tuple[int, dict[str, Any]]:
    """`facepay audit --json` as a process: its exit code and its answer."""
    environment = {
        **os.environ,
        "FACEPAY_KAFKA__BOOTSTRAP": recorded.settings.kafka.bootstrap,
        "FACEPAY_LEDGER__URL": recorded.settings.ledger.url,
    }
    ran = subprocess.run(
        [sys.executable, "-m", "pipeline.cli", "audit", "--json", *more],
        env=environment,
        capture_output=True,
        timeout=100,
        check=False,
    )
    assert ran.stdout, ran.stderr.decode()
    return ran.returncode, orjson.loads(ran.stdout)


def test_what_agrees_is_found_in_order(recorded: Recorded) -> None:
    """Every invariant looks at something and holds; the record that is no event is counted."""
    history = recorded.load()
    findings = examine(history)
    assert {name: finding.violations for name, finding in findings.items() if finding.violations} == {}
    assert {name: finding.checked > 0 for name, finding in findings.items()} == dict.fromkeys(findings, True)
    assert [record.event.outcome for record in history.settlements] == ["settled", "settled", "refunded", "expired"]
    assert history.undecodable == 1
    assert len(history.inputs) == 8
    assert history.ledger is not None
    assert {intent.state for intent in history.ledger.intents} == {"settled", "expired"}


def test_since_leaves_out_what_is_older(recorded: Recorded) -> None:
    """Payments opened before are not judged; the books still are."""
    history = recorded.load(since_us=START_US + SECOND_US)
    findings = examine(history)
    assert broken(findings) == []
    assert (findings["I1"].checked, findings["I4"].checked) == (0, 0)
    assert findings["I2"].checked > 0


def test_what_an_aborted_transaction_wrote_does_not_count(recorded: Recorded) -> None:
    """The audit reads committed records only, as everyone does."""
    row = recorded.world.store.outbox_after(recorded.world.lane, 0, 1)[0]
    aborted = Producer(
        {"bootstrap.servers": recorded.settings.kafka.bootstrap, "transactional.id": "audit-test", "acks": "all"}
    )
    aborted.init_transactions(30)
    aborted.begin_transaction()
    recorded.emit(row, aborted)
    aborted.abort_transaction(30)
    assert broken(examine(recorded.load())) == []


def test_the_command_says_ok(recorded: Recorded) -> None:
    """`facepay audit`: exit 0, and the keys of the interface."""
    code, answer = audit(recorded)
    assert (code, answer["ok"], answer["undecodable"]) == (0, True, 1)
    assert set(answer["invariants"]) == {"I1", "I2", "I3", "I4", "I5"}
    assert answer["invariants"]["I4"] == {"checked": 3, "violations": []}
    code, answer = audit(recorded, "--since", "1s")
    assert (code, answer["invariants"]["I1"]["checked"]) == (0, 0)


def test_a_record_emitted_twice_is_found(recorded: Recorded) -> None:
    """On the real topic, by its headers (last: it stays there)."""
    recorded.emit(recorded.world.store.outbox_after(recorded.world.lane, 0, 1)[0])
    findings = examine(recorded.load())
    assert broken(findings) == ["I1", "I2", "I3", "I5"]
    assert {violation.kind for violation in findings["I5"].violations} >= {"emitted_twice"}
    code, answer = audit(recorded)
    assert (code, answer["ok"]) == (1, False)
    assert {"kind", "subject", "detail"} == set(answer["invariants"]["I5"]["violations"][0])


def test_a_ledger_that_is_not_there_is_one_sentence(recorded: Recorded, tmp_path: Path) -> None:
    """An audit makes no ledger, and says what it looked for."""
    elsewhere = recorded.settings.model_copy(update={"ledger": tree.Ledger(url=f"sqlite:///{tmp_path / 'none.db'}")})
    with pytest.raises(LedgerError):
        load(elsewhere, lambda: START_US)
    assert not (tmp_path / "none.db").exists()
