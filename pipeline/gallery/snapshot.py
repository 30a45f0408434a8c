"""The sealed local snapshot of a gallery: a restart reads one file and the tail of the topic, not the whole topic.

A snapshot is a cache of the topic at one moment: a header in clear, then records (what they hold: `keeping`), each
under AES-256-GCM behind its length, the last one empty. Each file has a random key of its own in the store of data
keys, and the nonces count its records; the header is associated data of each, so that a changed header, a record of
another file, a record in another place, and a file that was cut off do not open. Writing a new file destroys the key of
the one before: no copy of an older snapshot, wherever it lies, can tell who was erased since.

The file is written aside, synced and renamed: it is the old one or the new one, never half. A snapshot is refused, with
one reason, unless it belongs to the same embedding model, key version, Kafka cluster and topic (Kafka's own ids), its
offsets lie within the topic, and it is younger than the topic keeps tombstones: in an older one a person could have
survived whose tombstone compaction has removed since. Whoever is refused reads the topic from its beginning.

A lock beside the file says whether an agent keeps it up to date.
"""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import msgspec
import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pipeline.errors import FacepayError, OutsideError
from pipeline.keys import private_files
from pipeline.keys.derivation import derive
from pipeline.ports import Clock, DataKeys
from pipeline.settings import Gallery
from pipeline.topics import GALLERY, topics
from schemas.ids import derived_id

log = structlog.get_logger(__name__)

MAGIC = b"FPGALLERY\x01"
TAG_BYTES = 16
LENGTH_BYTES = 4
MAX_HEADER_BYTES = 1024 * 1024
SUFFIX = ".snapshot"
MARGIN_US = 3_600_000_000
"""Tombstones may go so much earlier than the topic's configuration says: for clocks that differ, and long reads."""
_WHAT = "the gallery's snapshot"


class SnapshotRefused(FacepayError):
    """A snapshot that is not used; `reason` is one of `absent`, `damaged`, `another_model`, `another_key_version`,
    `another_topic`, `ahead_of_topic`, `stale`, `key_destroyed`."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class Binding(msgspec.Struct, frozen=True, kw_only=True):
    """What a snapshot belongs to."""

    model_sha256: str
    key_version: int
    dimension: int
    cluster_id: str
    topic: str
    topic_id: str


class Header(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What stands in clear before the sealed records."""

    binding: Binding
    offsets: dict[int, int]
    """By partition, the first record that is not in it."""
    read_at_us: int
    """When the topic had been read up to these offsets."""
    token: str
    key_id: str

    @property
    def key_owner(self) -> str:
        """In whose name the file's key is in the store of data keys."""
        return owner_of(self.token)


def owner_of(token: str) -> str:
    """In whose name the key of the snapshot with that random token is kept. Derived, so that a header which somebody
    has put there names no payer: whoever destroys a snapshot's key destroys nothing else."""
    return derived_id("snapshot", token)


class Snapshots:
    """The snapshot `name` in `folder`, of one agent. One caller at a time."""

    def __init__(
        self,
        folder: Path,
        name: str,
        data_keys: DataKeys,
        clock: Clock,
        *,
        max_age_us: int,
        read_only: bool = False,
    ) -> None:
        """`max_age_us`: how long the topic surely keeps a tombstone. `read_only`: of an agent that keeps it itself."""
        self.read_only = read_only
        self.path = folder / f"{name}{SUFFIX}"
        self._data_keys = data_keys
        self._clock = clock
        self._max_age_us = max_age_us
        self._lock: int | None = None

    @classmethod
    def of(
        cls, settings: Gallery, name: str, data_keys: DataKeys, clock: Clock, *, read_only: bool = False
    ) -> Snapshots | None:
        """The snapshot `name` where the settings ask for one."""
        if settings.snapshot is None:
            return None
        kept_ms = int(topics()[GALLERY].config["delete.retention.ms"])
        max_age_us = kept_ms * 1000 - MARGIN_US
        return cls(settings.snapshot, name, data_keys, clock, max_age_us=max_age_us, read_only=read_only)

    def acquire(self) -> bool:
        """Takes the lock, for this process's life or until `release`; False if another process has it, or if this one
        only reads."""
        if self.read_only:
            return False
        private_files.make_folder(self.path.parent, "the folder of snapshots")
        descriptor = os.open(self.path.with_suffix(".lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._lock = descriptor
        self._sweep()
        return True

    def release(self) -> None:
        """Gives the lock back."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def load(self, binding: Binding, ends: Mapping[int, int], take: Callable[[memoryview], None]) -> Header:
        """Calls `take` with each record, which is valid during the call; `ends`: where each partition of the topic ends
        now. Raises `SnapshotRefused`: nothing that was taken may be used then."""
        try:
            file = self.path.open("rb")
        except FileNotFoundError:
            raise SnapshotRefused("absent", f"opening {_WHAT} {self.path}: there is none yet") from None
        with file:
            header, associated = _read_header(file)
            self._check(header, binding, ends)
            key = self._data_keys.get([header.key_id]).get(header.key_id)
            if key is None:
                raise SnapshotRefused("key_destroyed", f"opening {_WHAT} {self.path}: its key was destroyed")
            for record in _opened(file, AESGCM(derive(key, "snapshot")), associated):
                take(record)
            return header

    def save(
        self,
        binding: Binding,
        offsets: Mapping[int, int],
        read_at_us: int,
        records: Iterable[bytes],
    ) -> Header:
        """Writes a new file in the place of the old one and destroys the old one's key; no record may be empty. Raises
        `OutsideError` (then the old file is still there)."""
        token = secrets.token_hex(16)
        owner = owner_of(token)
        key_id, key = self._data_keys.create(owner, binding.key_version)
        header = Header(
            binding=binding,
            offsets=dict(offsets),
            read_at_us=read_at_us,
            token=token,
            key_id=key_id,
        )
        before = header_of(self.path)
        aside = self.path.with_name(f".{self.path.name}.{secrets.token_hex(8)}")
        try:
            descriptor = os.open(aside, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                _write(file, AESGCM(derive(key, "snapshot")), header, records)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(self.path)
            private_files.sync_folder(self.path.parent)
        except OSError as error:
            aside.unlink(missing_ok=True)
            self._data_keys.destroy(owner)
            raise OutsideError(f"writing {_WHAT} {self.path}: {error.strerror}") from None
        if before is not None:
            self._data_keys.destroy(before.key_owner)
        return header

    def discard(self) -> None:
        """Destroys the snapshot's key, then removes the file; nothing to do if there is none."""
        header = header_of(self.path)
        if header is not None:
            self._data_keys.destroy(header.key_owner)
        self.path.unlink(missing_ok=True)

    def _sweep(self) -> None:
        """Removes what a process that died while it wrote has left, with its key."""
        for left in self.path.parent.glob(f".{self.path.name}.*"):
            header = header_of(left)
            if header is not None:
                self._data_keys.destroy(header.key_owner)
            left.unlink(missing_ok=True)

    def _check(self, header: Header, binding: Binding, ends: Mapping[int, int]) -> None:
        found, where = header.binding, f"opening {_WHAT} {self.path}:"
        if (found.model_sha256, found.dimension) != (binding.model_sha256, binding.dimension):
            raise SnapshotRefused("another_model", f"{where} it belongs to another embedding model")
        if found.key_version != binding.key_version:
            raise SnapshotRefused("another_key_version", f"{where} it belongs to another version of the gallery's key")
        if found != binding:
            raise SnapshotRefused("another_topic", f"{where} it belongs to another topic or another Kafka")
        if header.offsets.keys() != ends.keys() or any(header.offsets[p] > end for p, end in ends.items()):
            raise SnapshotRefused("ahead_of_topic", f"{where} the topic ends before it: Kafka has lost records")
        age_us = self._clock() - header.read_at_us
        if not 0 <= age_us + 60_000_000 <= self._max_age_us:
            raise SnapshotRefused("stale", f"{where} it is older than the topic keeps tombstones")


def header_of(path: Path) -> Header | None:
    """What a file says of itself, not yet authenticated; None if there is no such file or it is no snapshot."""
    try:
        with path.open("rb") as file:
            return _read_header(file)[0]
    except (FileNotFoundError, SnapshotRefused):
        return None


def _read_header(file: BinaryIO) -> tuple[Header, bytes]:
    """The header, and the associated data of every chunk; raises `SnapshotRefused` `damaged`."""
    prefix = file.read(len(MAGIC) + 4)
    size = int.from_bytes(prefix[len(MAGIC) :], "big")
    if len(prefix) < len(MAGIC) + 4 or not prefix.startswith(MAGIC) or size > MAX_HEADER_BYTES:
        raise SnapshotRefused("damaged", f"opening {_WHAT}: the file is no snapshot of this version")
    raw = file.read(size)
    try:
        return msgspec.json.decode(raw, type=Header), hashlib.sha256(prefix + raw).digest()
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise SnapshotRefused("damaged", f"opening {_WHAT}: its header cannot be read") from None


def _nonce(number: int) -> bytes:
    """No nonce repeats: a file has one key, and its records are counted."""
    return number.to_bytes(12, "big")


def _opened(file: BinaryIO, cipher: AESGCM, associated: bytes) -> Iterator[memoryview]:
    """Each record but the last, empty one; raises `SnapshotRefused` `damaged`."""
    place, size = file.tell(), os.fstat(file.fileno()).st_size
    plain = bytearray()
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as sealed:
        for number in range(size):
            begin = place + LENGTH_BYTES
            place = begin + int.from_bytes(sealed[place:begin], "big")
            length = place - begin - TAG_BYTES
            if length < 0 or place > size:
                break
            if len(plain) < length:
                plain = bytearray(length)
            with sealed[begin:place] as record, memoryview(plain)[:length] as target:
                try:
                    cipher.decrypt_into(_nonce(number), record, associated, target)
                except InvalidTag:
                    break
                if not length and place == size:
                    return
                yield target
    raise SnapshotRefused("damaged", f"opening {_WHAT}: it was changed, cut off or added to")


def _write(file: BinaryIO, cipher: AESGCM, header: Header, records: Iterable[bytes]) -> None:
    raw = msgspec.json.encode(header)
    prefix = MAGIC + len(raw).to_bytes(4, "big")
    associated = hashlib.sha256(prefix + raw).digest()
    file.write(prefix + raw)
    for number, record in enumerate(_ended(records)):
        file.write((len(record) + TAG_BYTES).to_bytes(LENGTH_BYTES, "big"))
        file.write(cipher.encrypt(_nonce(number), record, associated))


def _ended(records: Iterable[bytes]) -> Iterator[bytes]:
    for record in records:
        if not record:
            raise ValueError("an empty record would end the snapshot")
        yield record
    yield b""
