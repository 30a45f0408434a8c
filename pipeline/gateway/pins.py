"""The PIN desk: checks a payer's PIN, counts failures in Redis, and locks.

How it works: an attempt is counted before the PIN is looked at, in one atomic step, and the count is dropped when the
PIN was right. So attempts made at the same moment cannot exceed the limit together, and a crash between the two costs
an attempt instead of giving one. A locked PIN is not checked at all and its lock is not prolonged by trying.

Fail closed: without Redis no PIN is checked. The PIN is in memory for the check only; nothing here logs or returns it.
"""

from __future__ import annotations

import asyncio
import base64
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from pipeline import metrics
from pipeline.errors import DecodeError, RedisUnavailable
from pipeline.keys.keyring import Keyring
from pipeline.keys.pins import check_pin, open_verifier, pin_pepper
from pipeline.ports import InMessage
from schemas.codec import decode
from schemas.events import PayerProfile

CHECKS_AT_ONCE = 4
"""scrypt takes 32 MiB and some 0.1 s of one core for each check."""

COUNT = """
local count = tonumber(redis.call('GET', KEYS[1]) or '0')
if count >= tonumber(ARGV[1]) then return {count, redis.call('PTTL', KEYS[1]), 1} end
redis.call('SET', KEYS[1], count + 1, 'PX', ARGV[2])
return {count + 1, tonumber(ARGV[2]), 0}
"""
"""KEYS: the payer's count. ARGV: the limit, the lock's time (ms). Replies count, time to live (ms), locked."""


@dataclass(frozen=True, slots=True)
class Checked:
    """How a check ended."""

    result: Literal["right", "wrong", "locked", "not_set"]
    attempts_left: int = 0
    locked_s: int = 0


class Profiles:
    """The sealed PIN verifiers of payers, as read from `payers`; safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._profiles: dict[str, PayerProfile] = {}

    def apply(self, message: InMessage) -> None:
        """Takes in a profile or a tombstone; raises `InvalidMessage`."""
        if message.value is None:
            payer_id = (message.key or b"").decode(errors="replace")
            with self._lock:
                self._profiles.pop(payer_id, None)
            return
        profile = decode(message.value, PayerProfile)
        if message.key != profile.payer_id.encode():
            raise DecodeError("wrong_key", "the record's key is not the payer's id")
        with self._lock:
            self._profiles[profile.payer_id] = profile

    def get(self, payer_id: str) -> PayerProfile | None:
        """The payer's profile, if there is one."""
        with self._lock:
            return self._profiles.get(payer_id)


@dataclass(slots=True)
class PinDesk:
    """Checks PINs; `limit` failures lock a payer's PIN for `lock_s`."""

    profiles: Profiles
    keyring: Keyring
    url: str
    timeout_s: float
    limit: int
    lock_s: int
    _redis: Any = field(init=False)
    _count: Callable[..., Any] = field(init=False)
    _threads: ThreadPoolExecutor = field(init=False)

    def __post_init__(self) -> None:
        self._redis = redis.asyncio.Redis.from_url(
            self.url,
            socket_timeout=self.timeout_s,
            socket_connect_timeout=self.timeout_s,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
        )
        self._count = self._redis.register_script(COUNT)
        self._threads = ThreadPoolExecutor(CHECKS_AT_ONCE, thread_name_prefix="gateway-pin")

    async def check(self, payer_id: str, pin: str) -> Checked:
        """Checks one attempt. Raises `RedisUnavailable`, and then nothing was checked, or `InvalidMessage` when the
        payer's verifier does not open."""
        profile = self.profiles.get(payer_id)
        if profile is None:
            return Checked("not_set")
        key = f"facepay:pin:{{{payer_id}}}:failures"
        try:
            count, ttl_ms, locked = await self._count(keys=[key], args=[self.limit, self.lock_s * 1_000])
        except (redis.RedisError, OSError) as error:
            raise _unavailable(error) from None
        if locked:
            metrics.PIN_CHECKS.labels("locked").inc()
            return Checked("locked", locked_s=max(1, -(-int(ttl_ms) // 1_000)))
        right = await asyncio.get_running_loop().run_in_executor(self._threads, self._is_right, profile, pin)
        if not right:
            metrics.PIN_CHECKS.labels("wrong").inc()
            return Checked("wrong", attempts_left=self.limit - int(count))
        metrics.PIN_CHECKS.labels("right").inc()
        try:
            await self._redis.delete(key)
        except (redis.RedisError, OSError) as error:
            # The count stays: the payer has one attempt less until it expires, which is the safe side.
            _unavailable(error)
        return Checked("right")

    async def close(self) -> None:
        """Closes the connections."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        await self._redis.aclose()

    def _is_right(self, profile: PayerProfile, pin: str) -> bool:
        sealed = base64.b64decode(profile.sealed_pin_verifier)
        return check_pin(pin, open_verifier(self.keyring, profile.payer_id, sealed), pin_pepper(self.keyring))


def _unavailable(error: Exception) -> RedisUnavailable:
    metrics.REDIS_ERRORS.labels("gateway").inc()
    metrics.PIN_CHECKS.labels("unavailable").inc()
    return RedisUnavailable(f"counting PIN attempts in Redis: {type(error).__name__}; check FACEPAY_REDIS__URL")
