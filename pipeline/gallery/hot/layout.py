"""What the hot tier keeps in Redis, and under which names: nothing there tells a face or a payer.

One key space per region, embedding model and gallery key version; spaces never mix, as vectors of two of them have
nothing to say to each other:

    facepay:hot:{REGION:MODEL:VERSION}:entries   hash     tag -> sealed entry
                                      :seen      zset     tag -> when the payer was seen last (ms, Redis' own clock)
                                      :tombs     zset     tag -> when the payer was erased
                                      :log       stream   one record per change, its id is SEQ-0
                                      :meta      hash     epoch (a random name of this life of the space), seq

MODEL is the first 16 hex digits of the model's sha256. A tag is an HMAC of the payer id, an entry AES-256-GCM over the
payer's id, template ids and protected vectors; region, model, version and tag are its associated data, so that bytes
moved to another place do not open. Both keys derive from the keyring's `gallery.<version>`. One key seals one value per
payer and change of templates, far from the 2^32 of SP 800-38D.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from hashlib import sha256

import msgspec
import numpy as np

from pipeline.errors import InvalidMessage, SealError
from pipeline.keys.derivation import derive, length_prefixed
from pipeline.keys.keyring import Keyring
from pipeline.keys.seals import AesGcmSeal
from pipeline.ports import Vector

PREFIX = "facepay:hot:"
MODEL_DIGITS = 16
MAX_TEMPLATES = 64
"""Templates of one entry; of a payer with more, none is hot."""

_FLOATS = np.dtype("<f4")
_TAG_DIGITS = 32


@dataclass(frozen=True, slots=True)
class Space:
    """Which key space: `model` is the sha256 of the embedding model or its first 16 digits."""

    region: str
    model: str
    version: int

    @property
    def prefix(self) -> str:
        """What its keys begin with; the braces keep them on one slot of a Redis cluster."""
        return f"{PREFIX}{{{self.region}:{self.model[:MODEL_DIGITS]}:{self.version}}}:"

    @property
    def keys(self) -> tuple[str, str, str, str, str]:
        """Entries, seen, log, tombs, meta."""
        prefix = self.prefix
        return prefix + "entries", prefix + "seen", prefix + "log", prefix + "tombs", prefix + "meta"

    @classmethod
    def of_key(cls, key: str) -> Space | None:
        """The space that a key of Redis belongs to, None for anything else."""
        inside, _, rest = key.removeprefix(PREFIX + "{").partition("}:")
        parts = inside.split(":")
        if not key.startswith(PREFIX + "{") or not rest or len(parts) != 3 or not parts[2].isdecimal():
            return None
        return cls(parts[0], parts[1], int(parts[2]))


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """A payer's templates in protected space: ids, and vectors float32 (k, d) in their order."""

    payer_id: str
    template_ids: tuple[str, ...]
    vectors: Vector = field(repr=False)


class _Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    payer: str
    templates: list[str]


class EntrySeal:
    """Tags, seals and opens what one space holds. Raises `SettingsError` when the keyring lacks the version."""

    def __init__(self, keyring: Keyring, space: Space) -> None:
        self.space = space
        secret = keyring.secret(f"gallery.{space.version}")
        place = (space.region, space.model[:MODEL_DIGITS])
        self._tag_key = derive(secret, "hot.tag", *place)
        self._seal = AesGcmSeal(derive(secret, "hot.entry", *place))

    def tag(self, payer_id: str) -> str:
        """What names a payer in Redis: 32 hex digits that say nothing without the key."""
        return hmac.new(self._tag_key, payer_id.encode(), sha256).hexdigest()[:_TAG_DIGITS]

    def seal(self, entry: Entry) -> bytes:
        """The bytes of `entry` for Redis."""
        head = msgspec.json.encode(_Head(entry.payer_id, list(entry.template_ids)))
        plain = length_prefixed(head, entry.vectors.astype(_FLOATS).tobytes())
        return self._seal.seal(plain, self._associated(self.tag(entry.payer_id)))

    def open(self, tag: str, sealed: bytes, dimension: int) -> Entry:
        """The entry under `tag`; raises `SealError` `seal_broken` or `InvalidMessage` `entry_malformed`."""
        plain = self._seal.open(sealed, self._associated(tag))
        try:
            head, body = _two(plain)
            read = msgspec.json.decode(head, type=_Head)
            vectors = np.frombuffer(body, _FLOATS).astype(np.float32).reshape(len(read.templates), dimension)
        except (ValueError, msgspec.MsgspecError):
            raise InvalidMessage("entry_malformed", "a hot entry is sealed rightly and not what it should be") from None
        if self.tag(read.payer) != tag or not 0 < len(vectors) <= MAX_TEMPLATES or not np.isfinite(vectors).all():
            raise SealError("seal_broken", "a hot entry is not that of its tag")
        return Entry(read.payer, tuple(read.templates), vectors)

    def _associated(self, tag: str) -> bytes:
        space = self.space
        return length_prefixed("facepay.hot.v1", space.region, space.model, str(space.version), tag)


def _two(plain: bytes) -> tuple[bytes, bytes]:
    """The two fields of a list encoded by `length_prefixed`; raises `ValueError`."""
    fields: list[bytes] = []
    while plain:
        size = int.from_bytes(plain[:4], "big")
        if len(plain) < 4 + size:
            raise ValueError("a field is longer than what is left")
        fields.append(plain[4 : 4 + size])
        plain = plain[4 + size :]
    head, body = fields
    return head, body
