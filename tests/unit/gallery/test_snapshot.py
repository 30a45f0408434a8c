"""The sealed snapshot: whole or refused, its own or refused, and worth nothing once its key is destroyed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.gallery.index import ExactIndex
from pipeline.gallery.keeping import Keeper
from pipeline.gallery.protect.data_keys import open_data_keys
from pipeline.gallery.snapshot import MAGIC, Binding, Header, SnapshotRefused, Snapshots, header_of, owner_of
from pipeline.keys.keyring import Keyring

BINDING = Binding(
    model_sha256="a" * 64, key_version=1, dimension=2, cluster_id="here", topic="gallery", topic_id="first"
)
NOW_US = 1_000_000_000_000
HOUR_US = 3_600_000_000
OFFSETS = {0: 7, 1: 0}
RECORDS = [b"\x01one", b"\x02" + b"two" * 100, b"\x01" + bytes(1000)]


class Desk:
    """A folder with a snapshot in it."""

    def __init__(self, folder: Path, name: str = "one") -> None:
        self.keys = open_data_keys(Keyring.create(folder.parent / "keys"))
        self.now_us = NOW_US
        self.snapshots = Snapshots(folder, name, self.keys, lambda: self.now_us, max_age_us=HOUR_US)
        assert self.snapshots.acquire()

    def save(self, records: list[bytes] | None = None) -> Header:
        return self.snapshots.save(BINDING, OFFSETS, NOW_US, RECORDS if records is None else records)

    def load(self, binding: Binding = BINDING, ends: Mapping[int, int] = OFFSETS) -> list[bytes]:
        found: list[bytes] = []
        header = self.snapshots.load(binding, ends, lambda record: found.append(bytes(record)))
        assert header.offsets == OFFSETS
        return found

    def refused(self, binding: Binding = BINDING, ends: Mapping[int, int] = OFFSETS) -> str:
        with pytest.raises(SnapshotRefused) as why:
            self.load(binding, ends)
        return why.value.reason


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path / "snapshots")
    yield made
    made.snapshots.release()
    made.keys.close()


@given(records=st.lists(st.binary(min_size=1, max_size=3000), max_size=5))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
def test_what_was_saved_is_loaded(desk: Desk, records: list[bytes]) -> None:
    """Any records come back as they were, in their order; nobody else can read the file."""
    desk.save(records)
    assert desk.load() == records
    assert desk.snapshots.path.stat().st_mode & 0o077 == 0


def changed(at: Callable[[bytes], int]) -> Callable[[bytes], bytes]:
    """The file with one bit of the byte `at` flipped."""

    def change(data: bytes) -> bytes:
        place = at(data)
        return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]

    return change


def body(data: bytes) -> int:
    """Where the first record begins."""
    return len(MAGIC) + 4 + int.from_bytes(data[len(MAGIC) : len(MAGIC) + 4], "big")


def swapped(data: bytes) -> bytes:
    """The file with its first two records in each other's place."""
    first = body(data)
    second = first + 4 + int.from_bytes(data[first : first + 4], "big")
    third = second + 4 + int.from_bytes(data[second : second + 4], "big")
    return data[:first] + data[second:third] + data[first:second] + data[third:]


def header_replaced(data: bytes) -> bytes:
    """The file with other offsets in its header: whoever changes them wants a tombstone to be missed."""
    begin = body(data)
    header = msgspec.json.decode(data[len(MAGIC) + 4 : begin], type=Header)
    raw = msgspec.json.encode(msgspec.structs.replace(header, offsets={0: 7, 1: 1}))
    return MAGIC + len(raw).to_bytes(4, "big") + raw + data[begin:]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "nothing left": lambda data: data[:0],
    "cut in the header": lambda data: data[: len(MAGIC) + 6],
    "the last byte is missing": lambda data: data[:-1],
    "the last record is missing": lambda data: data[: -4 - 16],
    "cut behind the header": lambda data: data[: body(data)],
    "one byte too many": lambda data: data + b"\x00",
    "a record twice": lambda data: data + data[body(data) :],
    "another magic": lambda data: b"X" + data[1:],
    "a bit of a record": changed(lambda data: body(data) + 10),
    "a bit of a tag": changed(lambda data: len(data) - 1),
    "a bit of a length": changed(lambda data: body(data) + 3),
    "records swapped": swapped,
    "a bit of the header": changed(lambda data: data.index(b"first")),
    "other offsets": header_replaced,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_changed_file_is_refused(desk: Desk, damage: Callable[[bytes], bytes]) -> None:
    """Whatever is changed, moved, missing or added, the file is refused as damaged (or as another's)."""
    desk.save()
    path = desk.snapshots.path
    path.write_bytes(damage(path.read_bytes()))
    assert desk.refused(ends={0: 9, 1: 9}) in {"damaged", "another_topic"}


def test_every_single_bit_counts(desk: Desk) -> None:
    """No bit of a small snapshot can be flipped unnoticed."""
    desk.save([b"\x01abc"])
    path = desk.snapshots.path
    good = path.read_bytes()
    for place in range(len(good)):
        path.write_bytes(good[:place] + bytes([good[place] ^ 1 << place % 8]) + good[place + 1 :])
        assert desk.refused(ends={0: 99, 1: 99})
    path.write_bytes(good)
    assert desk.load() == [b"\x01abc"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model_sha256": "b" * 64}, "another_model"),
        ({"dimension": 3}, "another_model"),
        ({"key_version": 2}, "another_key_version"),
        ({"cluster_id": "there"}, "another_topic"),
        ({"topic": "gallery-2"}, "another_topic"),
        ({"topic_id": "second"}, "another_topic"),
    ],
)
def test_a_foreign_snapshot_is_refused(desk: Desk, change: dict[str, object], reason: str) -> None:
    """One of another model, key version, cluster or topic."""
    desk.save()
    assert desk.refused(msgspec.structs.replace(BINDING, **change)) == reason


@pytest.mark.parametrize(
    ("ends", "reason"),
    [({0: 7, 1: 0}, None), ({0: 100, 1: 5}, None), ({0: 6, 1: 0}, "ahead_of_topic"), ({0: 7}, "ahead_of_topic")],
)
def test_a_snapshot_ahead_of_its_topic_is_refused(desk: Desk, ends: dict[int, int], reason: str | None) -> None:
    """A topic that ends before the snapshot has lost records: what is in it cannot be trusted."""
    desk.save()
    if reason is None:
        assert desk.load(ends=ends) == RECORDS
    else:
        assert desk.refused(ends=ends) == reason


@pytest.mark.parametrize(
    ("age_us", "good"),
    [(0, True), (HOUR_US - 60_000_000, True), (HOUR_US, False), (10 * HOUR_US, False), (-HOUR_US, False)],
)
def test_a_snapshot_older_than_tombstones_is_refused(desk: Desk, age_us: int, good: bool) -> None:
    """In it a person could have survived whose tombstone compaction has removed; one of the future has no age."""
    desk.save()
    desk.now_us = NOW_US + age_us
    if good:
        assert desk.load() == RECORDS
    else:
        assert desk.refused() == "stale"


def test_no_copy_of_an_older_snapshot_opens(desk: Desk) -> None:
    """Writing a new file destroys the key of the one before: a backup of that is noise."""
    first = desk.save([b"\x01who was erased"])
    copy = desk.snapshots.path.read_bytes()
    desk.save([b"\x01who is left"])
    assert desk.load() == [b"\x01who is left"]
    desk.snapshots.path.write_bytes(copy)
    assert desk.refused() == "key_destroyed"
    assert desk.keys.of_payer(first.key_owner) == ()
    assert desk.keys.counts() == {1: 1}


def test_a_snapshot_half_written_leaves_the_one_before(desk: Desk) -> None:
    """A disk that is full leaves the old file and no key; what a killed process left is swept by the next."""
    desk.save()

    def failing() -> Iterator[bytes]:
        yield b"\x01begun"
        raise OSError(28, "No space left on device")

    with pytest.raises(Exception, match="No space left"):
        desk.snapshots.save(BINDING, OFFSETS, NOW_US, failing())
    assert desk.load() == RECORDS
    assert desk.keys.counts() == {1: 1}

    killed = desk.save()
    left = desk.snapshots.path.with_name(f".{desk.snapshots.path.name}.0123")
    left.write_bytes(desk.snapshots.path.read_bytes())
    desk.snapshots.path.unlink()
    desk.snapshots.release()
    assert desk.snapshots.acquire()
    assert not left.exists()
    assert desk.keys.of_payer(killed.key_owner) == ()


def test_one_process_keeps_a_snapshot(desk: Desk, tmp_path: Path) -> None:
    """A second one under the same name reads it, and leaves it alone; another name is another snapshot."""
    folder = tmp_path / "snapshots"
    again = Snapshots(folder, "one", desk.keys, lambda: NOW_US, max_age_us=HOUR_US)
    assert not again.acquire()
    other = Snapshots(folder, "two", desk.keys, lambda: NOW_US, max_age_us=HOUR_US)
    assert other.acquire()
    reading = Snapshots(folder, "one", desk.keys, lambda: NOW_US, max_age_us=HOUR_US, read_only=True)
    desk.snapshots.release()
    assert not reading.acquire()
    assert again.acquire()
    again.release()
    other.release()


def test_a_header_names_no_payer(desk: Desk) -> None:
    """A file that somebody put there makes nobody destroy a payer's key: whose key it has derives from its token."""
    payer = "019ab5c2-7d10-7c3e-9a41-5c0e5f0a7b11"
    desk.keys.create(payer, 1)
    desk.save()
    path = desk.snapshots.path
    raw = msgspec.json.decode(path.read_bytes()[len(MAGIC) + 4 : body(path.read_bytes())])
    forged = msgspec.json.encode({**raw, "token": payer})
    path.write_bytes(MAGIC + len(forged).to_bytes(4, "big") + forged)
    header = header_of(path)
    assert header is not None
    assert header.key_owner == owner_of(payer) != payer
    desk.snapshots.discard()
    assert len(desk.keys.of_payer(payer)) == 1
    assert not path.exists()


def test_what_is_no_snapshot_has_no_header(tmp_path: Path) -> None:
    """Nothing there, and any file."""
    assert header_of(tmp_path / "none") is None
    (tmp_path / "some").write_bytes(os.urandom(100))
    assert header_of(tmp_path / "some") is None


def test_nothing_of_a_refused_snapshot_stays_in_the_index(desk: Desk) -> None:
    """A file that is found damaged at its end was half taken over by then: all of that goes again, since nobody can say
    who of it was erased."""
    index = ExactIndex(2)
    index.put("7f35d1b9-a7a3-5cab-aaae-211ff36414b9", "01a210fa-1abe-7af9-91da-cc06673e9207", np.eye(2, dtype="f4")[0])
    desk.snapshots.release()
    keeper = Keeper(desk.snapshots, index, (), lambda: desk.now_us, interval_s=0)
    assert keeper.begin(BINDING, OFFSETS) == {}
    keeper.turn(BINDING, OFFSETS)
    keeper.stop()
    good = desk.snapshots.path.read_bytes()
    for data, size in ((good, 1), (good[:-1] + bytes([good[-1] ^ 1]), 0)):
        desk.snapshots.path.write_bytes(data)
        taken = ExactIndex(2)
        keeper = Keeper(desk.snapshots, taken, (), lambda: desk.now_us, interval_s=0)
        assert bool(keeper.begin(BINDING, OFFSETS)) == bool(size)
        keeper.stop()
        assert taken.size == size
