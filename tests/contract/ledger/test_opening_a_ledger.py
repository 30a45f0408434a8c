"""Who may open a ledger, and for which Kafka."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from pipeline.errors import FacepayError, LedgerError, LedgerMismatch, SettingsError
from pipeline.ledger.reading import LedgerReader
from pipeline.ledger.store import SqlLaneStore
from pipeline.ports import KafkaIdentity, LaneStore
from tests.contract.ledger.world import KEY, World, bury, opening, sign, verdict


def open_store(url: str) -> SqlLaneStore:
    return SqlLaneStore(url, confirmation_key=KEY, receipt_signer=sign, payer_limit_minor=0, dead=bury)


def test_the_store_is_a_lane_store(world: World) -> None:
    """What the transactional loop is given."""
    store: LaneStore = world.store
    assert store.sources == ("commands", "verdicts")


def test_a_second_instance_on_one_file_is_refused(world: World) -> None:
    """One sentence: which file, which process, what to do; and the first one goes on."""
    with pytest.raises(LedgerError, match=r"another settlement instance \(process \d+\) has it open; stop that one"):
        open_store(world.url)
    assert [event.outcome for event in world.feed(opening("a"), verdict("a"))] == ["settled"]


def test_a_second_process_on_one_file_is_refused(world: World) -> None:
    """The lock is the operating system's, not this process's."""
    program = "import sys; from tests.contract.ledger.test_opening_a_ledger import open_store; open_store(sys.argv[1])"
    ran = subprocess.run([sys.executable, "-c", program, world.url], capture_output=True, text=True, check=False)
    assert ran.returncode != 0
    assert "another settlement instance" in ran.stderr


def test_a_closed_ledger_can_be_opened_again(world: World) -> None:
    """The lock lasts as long as the instance; identity and lanes stay."""
    before = world.store.bind(KafkaIdentity("c", {}))
    world.store.close()
    world.store = world.open()
    assert world.epoch == 2
    assert world.store.bind(KafkaIdentity("c", {})) == before


def test_readers_do_not_need_the_lock(world: World) -> None:
    """An audit runs beside settlement."""
    world.feed(opening("a"), verdict("a"))
    with LedgerReader(world.url) as ledger:
        assert len(list(ledger.intents())) == 1


def test_the_file_is_its_owners_alone(world: World) -> None:
    """Who paid whom is nobody else's business on this machine."""
    for path in (world.path, world.path.with_name("ledger.db-wal"), world.path.with_name("ledger.db.lock")):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (KafkaIdentity("other", {"commands": "c1", "verdicts": "v1"}), "cluster_id"),
        (KafkaIdentity("kafka", {"commands": "c2", "verdicts": "v1"}), "topic commands"),
        (KafkaIdentity("kafka", {"commands": "c1"}), "topic verdicts"),
    ],
)
def test_another_kafka_is_refused(world: World, other: KafkaIdentity, named: str) -> None:
    """Offsets mean nothing on another cluster or on a topic that was made again."""
    mine = KafkaIdentity("kafka", {"commands": "c1", "verdicts": "v1"})
    first = world.store.bind(mine)
    with pytest.raises(LedgerMismatch, match=named):
        world.store.bind(other)
    assert world.store.bind(mine) == first
    with LedgerReader(world.url) as ledger:
        assert ledger.kafka() == mine


def test_a_topic_the_ledger_has_not_met_is_added(world: World) -> None:
    """And is held to from then on."""
    world.store.bind(KafkaIdentity("kafka", {"commands": "c1"}))
    world.store.bind(KafkaIdentity("kafka", {"commands": "c1", "settlements": "s1"}))
    with pytest.raises(LedgerMismatch, match="topic settlements"):
        world.store.bind(KafkaIdentity("kafka", {"commands": "c1", "settlements": "s2"}))


def test_another_schema_version_is_refused(world: World) -> None:
    """A newer or older program does not guess."""
    world.store.close()
    with closing(sqlite3.connect(world.path)) as connection:
        connection.execute("UPDATE meta SET value = '999' WHERE name = 'schema_version'")
        connection.commit()
    with pytest.raises(LedgerError, match="version 999"):
        open_store(world.url)
    with pytest.raises(LedgerError, match="version 999"):
        LedgerReader(world.url)


@pytest.mark.parametrize(
    ("url", "error", "says"),
    [
        ("sqlite://", SettingsError, "in memory"),
        ("sqlite:///:memory:", SettingsError, "in memory"),
        ("sqlite:///ledger.db?mode=memory", SettingsError, "takes no options"),
        ("not an address", SettingsError, "no SQLAlchemy address"),
        ("sqlite:////nowhere/at/all/ledger.db", LedgerError, "lock file cannot be made"),
    ],
)
def test_an_address_that_cannot_be_opened_says_why(url: str, error: type[FacepayError], says: str) -> None:
    """One sentence, of the right class."""
    with pytest.raises(error, match=says):
        open_store(url)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    """And its lock is given back."""
    path = tmp_path / "ledger.db"
    path.write_bytes(b"this is not a database, it only looks like a file" * 100)
    for _ in range(2):
        with pytest.raises(LedgerError, match="not a database"):
            open_store(f"sqlite:///{path}")


def test_reading_a_ledger_that_is_not_there_makes_none(tmp_path: Path) -> None:
    """An audit of a wrong address must not find an empty, flawless ledger."""
    path = tmp_path / "ledger.db"
    with pytest.raises(LedgerError, match="no such file"):
        LedgerReader(f"sqlite:///{path}")
    assert not path.exists()


@pytest.mark.parametrize(
    ("written", "name"),
    [("a b.db", "a b.db"), ("a%20b.db", "a b.db"), ("who%3F.db", "who?.db"), ("#1.db", "#1.db"), ("5%25.db", "5%.db")],
)
def test_a_path_may_have_any_name(tmp_path: Path, written: str, name: str) -> None:
    """The file that is opened is the one that was named; an address escapes `%` and `?`."""
    store = open_store(f"sqlite:///{tmp_path / written}")
    store.close()
    assert (tmp_path / name).is_file()
