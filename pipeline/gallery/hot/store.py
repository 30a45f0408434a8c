"""One key space of the hot tier in Redis: every call that is made to it.

A call ends within the timeout given or raises `RedisUnavailable`; nothing is retried here. What is read may be
anything (`layout.EntrySeal.open` judges it); keys of another kind than they should be are removed, once, and the call
made again: everything here can be lost.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar, cast

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from pipeline import metrics
from pipeline.errors import RedisUnavailable
from pipeline.gallery.hot import scripts
from pipeline.gallery.hot.layout import Space

LOG_RECORDS = 10_000
"""Changes the log keeps. A mirror that was away for longer reads all entries again."""
TOMBSTONE_MS = 86_400_000
"""How long an erased payer cannot be put: far longer than any agent lags behind the gallery and still runs."""

_FOREIGN = ("WRONGTYPE", "not an integer", "not a valid float")
"""What Redis says of a key that no script here has written."""
_SCAN = 512
_CHANGES = 1_000

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Position:
    """Where a space is. `server` names the run of the server, `epoch` this life of the space ("" = none)."""

    server: str
    epoch: str
    seq: int


@dataclass(frozen=True, slots=True)
class Change:
    """One record of the log: `op` is `put`, `drop` or `erase`; `seq` is -1 for one that no script wrote."""

    seq: int
    op: str
    tag: str


class HotStore:
    """The space at `url`. `timeout_ms` bounds each call; `block_ms` more for `changes`."""

    def __init__(
        self,
        url: str,
        space: Space,
        *,
        timeout_ms: int,
        max_payers: int,
        max_age_s: int,
        block_ms: int = 500,
        log_records: int = LOG_RECORDS,
    ) -> None:
        self.space = space
        self._block_ms = block_ms
        self._redis = _client(url, timeout_ms)
        self._blocking = _client(url, timeout_ms + block_ms)
        self._bounds = (log_records, max_payers, max_age_s * 1000, TOMBSTONE_MS)
        self._put = self._redis.register_script(scripts.PUT)
        self._touch = self._redis.register_script(scripts.TOUCH)
        self._drop = self._redis.register_script(scripts.DROP)
        self._erase = self._redis.register_script(scripts.ERASE)
        self._tidy = self._redis.register_script(scripts.TIDY)
        self._position = self._redis.register_script(scripts.POSITION)

    def put(self, tag: str, sealed: bytes) -> bool:
        """Keeps an entry; False if its payer was erased lately."""
        return bool(self._change(self._put, tag, sealed) == b"put")

    def touch(self, tag: str) -> bool:
        """Notes that a payer was seen; False if it has no entry."""
        return bool(self._change(self._touch, tag) == b"touched")

    def drop(self, tag: str) -> bool:
        """Takes an entry out; whether there was one."""
        return bool(self._change(self._drop, tag))

    def erase(self, tag: str) -> bool:
        """Takes an entry out and refuses new ones for `TOMBSTONE_MS`; whether there was one."""
        return bool(self._change(self._erase, tag))

    def tidy(self) -> int:
        """Keeps the bounds; returns how many entries went."""
        return int(self._change(self._tidy))

    def position(self) -> Position:
        """Where the space is now."""

        def ask() -> Position:
            server = str(self._redis.info("server").get("run_id", ""))
            epoch, seq = self._position(keys=self.space.keys)
            return Position(server, epoch.decode("ascii", "replace"), _number(seq))

        return self._call(ask)

    def changes(self, after: int) -> list[Change]:
        """The changes after `after`, in order; waits up to `block_ms` for one."""
        log = self.space.keys[2]

        def ask() -> list[Change]:
            found: Any = self._blocking.xread({log: f"{after}-0"}, count=_CHANGES, block=self._block_ms)
            records = found[0][1] if found else []
            return [_change(name, fields) for name, fields in records]

        return self._call(ask)

    def entries(self, tags: Sequence[str]) -> list[bytes | None]:
        """The sealed entries of `tags`, None where there is none."""
        key = self.space.keys[0]
        found: list[bytes | None] = []
        for start in range(0, len(tags), _SCAN):
            ask = partial(self._redis.hmget, key, list(tags[start : start + _SCAN]))
            found.extend(cast("list[bytes | None]", self._call(ask)))
        return found

    def scan(self) -> Iterator[tuple[str, bytes]]:
        """Every entry that is there from beginning to end of the scan, and perhaps others; tags may repeat."""
        key, cursor = self.space.keys[0], 0
        while True:
            answer = self._call(partial(self._redis.hscan, key, cursor, count=_SCAN))
            cursor, some = cast("tuple[int, dict[bytes, bytes]]", answer)
            for tag, sealed in some.items():
                yield tag.decode("ascii", "replace"), sealed
            if cursor == 0:
                return

    def holds(self, tag: str) -> bool:
        """Whether there is an entry."""
        return self._call(lambda: bool(self._redis.hexists(self.space.keys[0], tag)))

    def remove(self) -> None:
        """Takes the whole space away."""
        self._call(lambda: self._redis.delete(*self.space.keys))

    def spaces(self) -> set[Space]:
        """Every space on this server that is not empty, of any region, model and version."""
        found = self._call(lambda: [key.decode("utf-8", "replace") for key in self._redis.scan_iter("facepay:hot:*")])
        return {space for key in found if (space := Space.of_key(key)) is not None}

    def close(self) -> None:
        """Closes the connections."""
        self._redis.close()
        self._blocking.close()

    def _change(self, script: Any, *own: str | bytes) -> Any:  # noqa: ANN401 - what a script returns
        epoch = uuid.uuid4().hex
        return self._call(lambda: script(keys=self.space.keys, args=[epoch, *self._bounds, *own]))

    def _call(self, ask: Callable[[], T]) -> T:
        try:
            try:
                return ask()
            except redis.ResponseError as error:
                if not any(sign in str(error) for sign in _FOREIGN):
                    raise
                metrics.HOT_REFUSED.labels("wrong_type").inc()
                self._redis.delete(*self.space.keys)
                return ask()
        except (redis.RedisError, OSError, ValueError) as error:
            metrics.REDIS_ERRORS.labels("hot").inc()
            raise RedisUnavailable(
                f"asking Redis for payers seen lately: {type(error).__name__}; check FACEPAY_REDIS__URL"
            ) from None


def _client(url: str, timeout_ms: int) -> redis.Redis:
    seconds = timeout_ms / 1000
    return redis.Redis.from_url(
        url, socket_timeout=seconds, socket_connect_timeout=seconds, retry=Retry(NoBackoff(), 0), protocol=2
    )


def _change(name: bytes, fields: dict[bytes, bytes] | None) -> Change:
    seq, _, rest = name.partition(b"-")
    read = fields or {}
    op, tag = (read.get(field, b"").decode("ascii", "replace") for field in (b"op", b"tag"))
    if rest != b"0" or op not in {"put", "drop", "erase"} or not tag:
        return Change(-1, "", "")
    return Change(_number(seq), op, tag)


def _number(raw: bytes | str | int) -> int:
    try:
        return int(raw)
    except ValueError:
        return -1
