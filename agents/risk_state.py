"""The fraud agent's memory in Redis: a payer's history, and the bytes of every verdict given.

How it works: `read` fetches, in one round trip, whether an intent was judged already and the payer's history with its
version. `write` runs one Lua script per verdict, all in one round trip. The script is the guard: in one atomic step it
returns the verdict's bytes if there are any, refuses when the history has another version than was read, and else keeps
history and verdict together. So a replay repeats the same bytes, and no two writers lose each other's update.

Keys hold pseudonymous payer ids only, in a hash tag, so that a payer's keys share a slot of a Redis cluster. A marker
says that the histories were filled from `settlements` once: without it the store is cold (new, or it lost its data).

Errors: every call ends within the timeout given or raises `RedisUnavailable`; nothing is retried here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from pipeline import metrics
from pipeline.errors import RedisUnavailable

PREFIX = "facepay:fraud:"
VERDICT_TTL_MS = 3_600_000
"""A verdict is repeated as long as its intent can still be open: minutes. An hour leaves room for any outage."""

STEP = """
if ARGV[6] == 'verdict' then
  local stored = redis.call('GET', KEYS[2])
  if stored then return {'stored', stored} end
end
local version = redis.call('HGET', KEYS[1], 'version') or '0'
if version ~= ARGV[1] then return {'stale', ''} end
redis.call('HSET', KEYS[1], 'version', tostring(tonumber(version) + 1), 'history', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
if ARGV[6] ~= 'history' then redis.call('SET', KEYS[2], ARGV[3], 'PX', ARGV[5]) end
return {'kept', ''}
"""
"""KEYS: history, verdict. ARGV: version read, new history, verdict, their times to live (ms), mode."""


class Mode(Enum):
    """What a write keeps."""

    VERDICT = "verdict"
    """History and verdict, unless the intent has a verdict."""
    REPLACE = "replace"
    """The same for a verdict that was sent while the store was away: what was sent is what a replay must repeat."""
    HISTORY = "history"
    """The history alone (an outcome)."""


@dataclass(frozen=True, slots=True)
class Known:
    """What the store holds for one (payer, intent)."""

    verdict: bytes | None
    version: int
    history: bytes | None


@dataclass(frozen=True, slots=True)
class Write:
    """One step to take: `version` is the one that `history` was computed from."""

    payer_id: str
    intent_id: str
    version: int
    history: bytes
    verdict: bytes = b""
    mode: Mode = Mode.VERDICT


@dataclass(frozen=True, slots=True)
class Written:
    """How a step ended: `kept`; `stored` with the verdict's bytes from before; or neither, when it was `stale`."""

    kept: bool
    stored: bytes | None = None


class RiskState:
    """The store at `url`; a call takes at most `timeout_ms`, a history lives `history_ttl_ms`."""

    def __init__(self, url: str, *, timeout_ms: int, history_ttl_ms: int) -> None:
        self._redis: redis.Redis = redis.Redis.from_url(
            url,
            socket_timeout=timeout_ms / 1000,
            socket_connect_timeout=timeout_ms / 1000,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
        )
        self._history_ttl_ms = history_ttl_ms
        self._sha: str | None = None

    def read(self, cases: Sequence[tuple[str, str]]) -> tuple[bool, list[Known]]:
        """Whether the store is warm, and what it holds for each (payer id, intent id), in order."""
        pipe = self._redis.pipeline(transaction=False)
        pipe.exists(PREFIX + "warm")
        for payer_id, intent_id in cases:
            pipe.get(verdict_key(payer_id, intent_id))
            pipe.hmget(history_key(payer_id), ["version", "history"])
        warm, *found = self._run(pipe)
        pairs = zip(found[::2], found[1::2], strict=True)
        return bool(warm), [Known(verdict, int(version or 0), history) for verdict, (version, history) in pairs]

    def write(self, steps: Sequence[Write]) -> list[Written]:
        """Takes the steps in order, each atomically."""
        replies = self._steps(steps)
        return [Written(kept=word == b"kept", stored=data if word == b"stored" else None) for word, data in replies]

    def set_warm(self) -> None:
        """Notes that the histories are filled."""
        pipe = self._redis.pipeline(transaction=False)
        pipe.set(PREFIX + "warm", 1)
        self._run(pipe)

    def close(self) -> None:
        """Closes the connections."""
        self._redis.close()

    def _steps(self, steps: Sequence[Write]) -> list[list[bytes]]:
        """The script's replies. A server that restarted has forgotten the script: those steps that it could not take
        for that reason, and only those, are taken after loading it again."""
        replies: list[Any] = [None] * len(steps)
        waiting = list(range(len(steps)))
        for _ in range(3):
            if self._sha is None:
                load = self._redis.pipeline(transaction=False)
                load.script_load(STEP)
                self._sha = str(self._run(load)[0])
            pipe = self._redis.pipeline(transaction=False)
            for index in waiting:
                step = steps[index]
                pipe.evalsha(
                    self._sha,
                    2,
                    history_key(step.payer_id),
                    verdict_key(step.payer_id, step.intent_id),
                    step.version,
                    step.history,
                    step.verdict,
                    self._history_ttl_ms,
                    VERDICT_TTL_MS,
                    step.mode.value,
                )
            for index, reply in zip(waiting, self._run(pipe), strict=True):
                replies[index] = reply
            waiting = [index for index in waiting if isinstance(replies[index], redis.exceptions.NoScriptError)]
            if not waiting:
                return replies
            self._sha = None
        raise RedisUnavailable("keeping verdicts: Redis forgets the script at once; check its memory")

    @staticmethod
    def _run(pipe: Any) -> list[Any]:  # noqa: ANN401 - redis types a pipeline by what it was made from
        """The replies; a missing script stays in its place as an error, anything else raises `RedisUnavailable`."""
        try:
            replies: list[Any] = pipe.execute(raise_on_error=False)
        except (redis.RedisError, OSError) as error:
            raise _unavailable(error) from None
        for reply in replies:
            if isinstance(reply, Exception) and not isinstance(reply, redis.exceptions.NoScriptError):
                raise _unavailable(reply)
        return replies


def history_key(payer_id: str) -> str:
    """Where a payer's history is."""
    return f"{PREFIX}{{{payer_id}}}:history"


def verdict_key(payer_id: str, intent_id: str) -> str:
    """Where the verdict on one payer for one intent is. Another payer recognised for the same intent has a verdict of
    its own, so that settlement sees the contradiction and declines."""
    return f"{PREFIX}{{{payer_id}}}:verdict:{intent_id}"


def _unavailable(error: Exception) -> RedisUnavailable:
    metrics.REDIS_ERRORS.labels("fraud").inc()
    return RedisUnavailable(f"asking Redis for a payer's history: {type(error).__name__}; check FACEPAY_REDIS__URL")
