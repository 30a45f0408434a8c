"""How a request waits for news without asking again: threads wake it.

Readers apply events in their own threads and call `wake`, which runs on the event loop; a waiter registers and looks
at the book without giving the loop away in between, so news that come between the look and the wait are not lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from typing import TypeVar

T = TypeVar("T")


class Waiters:
    """Waiters by key; made and awaited on one event loop, woken from any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: dict[Hashable, set[asyncio.Future[None]]] = {}
        self._closed = False

    async def until(self, key: Hashable, look: Callable[[], T | None], timeout_s: float) -> T | None:
        """What `look` returns as soon as it is not None; None after `timeout_s`, or at once when closed."""
        deadline = self._loop.time() + timeout_s
        while True:
            news = self._loop.create_future()
            self._waiting.setdefault(key, set()).add(news)
            try:
                if (found := look()) is not None:
                    return found
                left_s = deadline - self._loop.time()
                if left_s <= 0 or self._closed:
                    return None
                await asyncio.wait((news,), timeout=left_s)
            finally:
                self._drop(key, news)

    def wake(self, *keys: Hashable) -> None:
        """There is news for `keys`; from any thread, also after the loop has ended."""
        try:
            self._loop.call_soon_threadsafe(self._wake, keys)
        except RuntimeError:
            if not self._loop.is_closed():
                raise

    def close(self) -> None:
        """Lets everyone go, now and from now on: the process is about to end. On the loop's thread."""
        self._closed = True
        self._wake(tuple(self._waiting))

    @property
    def closed(self) -> bool:
        """Whether nobody waits any more."""
        return self._closed

    def __len__(self) -> int:
        return sum(len(waiting) for waiting in self._waiting.values())

    def _wake(self, keys: tuple[Hashable, ...]) -> None:
        for key in keys:
            for news in self._waiting.get(key, ()):
                if not news.done():
                    news.set_result(None)

    def _drop(self, key: Hashable, news: asyncio.Future[None]) -> None:
        waiting = self._waiting.get(key)
        if waiting is not None:
            waiting.discard(news)
            if not waiting:
                del self._waiting[key]
