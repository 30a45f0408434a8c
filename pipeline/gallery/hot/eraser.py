"""Taking a payer out of the hot tier for good, from outside of the agents that mirror it.

Every key space of a Redis is gone through, whatever its region, model and key version. With the model given, so is the
one that agents use now even where it is not there yet: its tombstone stands before any of them could put the payer. A
space whose key version the keyring has no more is of no use to anybody and is removed.
"""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.errors import SettingsError
from pipeline.gallery.hot.layout import EntrySeal, Space
from pipeline.gallery.hot.store import HotStore
from pipeline.keys.keyring import Keyring
from pipeline.settings import Hot, Redis

TIMEOUT_MS = 2_000


class HotEraser:
    """Erases from the Redis of the settings; a call to it takes at most `TIMEOUT_MS`."""

    def __init__(self, redis: Redis, hot: Hot, keyring: Keyring, *, model_sha256: str | None = None) -> None:
        self._url = redis.url
        self._hot = hot
        self._keyring = keyring
        self._now = None if model_sha256 is None else Space(hot.region, model_sha256, keyring.gallery_version)

    def erase(self, payer_id: str) -> int:
        """Takes the payer out and refuses puts for a day; returns in how many key spaces. Idempotent. Raises
        `RedisUnavailable`: then erase again."""
        spaces = 0
        for store, seal in self._spaces():
            spaces += 1
            if seal is None:
                store.remove()
            else:
                store.erase(seal.tag(payer_id))
        return spaces

    def holds(self, payer_id: str) -> bool:
        """Whether a key space has the payer. Raises `RedisUnavailable`."""
        return any(seal is not None and store.holds(seal.tag(payer_id)) for store, seal in self._spaces())

    def _spaces(self) -> Iterator[tuple[HotStore, EntrySeal | None]]:
        """Each key space, with None for one that nobody can read."""
        finder = self._store(self._now or Space(self._hot.region, "", 1))
        try:
            found = {space.prefix: space for space in finder.spaces()}
        finally:
            finder.close()
        if self._now is not None:
            found[self._now.prefix] = self._now
        for space in found.values():
            store = self._store(space)
            try:
                yield store, self._seal(space)
            finally:
                store.close()

    def _seal(self, space: Space) -> EntrySeal | None:
        try:
            return EntrySeal(self._keyring, space)
        except SettingsError:
            return None

    def _store(self, space: Space) -> HotStore:
        return HotStore(
            self._url,
            space,
            timeout_ms=TIMEOUT_MS,
            max_payers=self._hot.max_payers,
            max_age_s=self._hot.max_age_s,
        )
