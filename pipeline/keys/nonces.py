"""Which nonces were seen where, for as long as a replay could pass every other check.

A nonce belongs to the first topic position it was seen at: there it is a redelivery and passes again, anywhere else it
is a replay. An entry lives until `keep_us` after its frame was captured, when a replay is refused as stale without any
memory; so the memory holds what was captured within one window, whatever the uptime.
"""

from __future__ import annotations

import heapq

Position = tuple[str, int, int]
"""Topic, partition, offset."""


class NonceMemory:
    """`keep_us`: how long after capture a nonce matters. `ahead_us`: how far a capture time may lie in the future."""

    def __init__(self, *, keep_us: int, ahead_us: int) -> None:
        self._keep_us = keep_us
        self._ahead_us = ahead_us
        self._seen: dict[bytes, Position] = {}
        self._by_capture: list[tuple[int, bytes]] = []
        self._restored: list[tuple[bytes, Position, int]] = []

    def __len__(self) -> int:
        return len(self._seen) + len(self._restored)

    def first_or_same(self, nonce: bytes, position: Position, captured_at_us: int, now_us: int) -> bool:
        """Whether `nonce` is new (then it is noted) or was seen at this very position."""
        self._settle(now_us)
        self._drop_old(now_us)
        return self._note(nonce, position, captured_at_us) == position

    def restore(self, nonce: bytes, position: Position, captured_at_us: int) -> None:
        """Notes a nonce from before a restart; its capture time is unproven and is judged at the next look."""
        self._restored.append((nonce, position, captured_at_us))

    def forget(self, partition: int) -> None:
        """Drops what was seen in one partition."""
        gone = {nonce for nonce, (_, where, _) in self._seen.items() if where == partition}
        for nonce in gone:
            del self._seen[nonce]
        self._by_capture = [entry for entry in self._by_capture if entry[1] not in gone]
        heapq.heapify(self._by_capture)
        self._restored = [entry for entry in self._restored if entry[1][1] != partition]

    def _note(self, nonce: bytes, position: Position, captured_at_us: int) -> Position:
        held = self._seen.setdefault(nonce, position)
        if held is position:
            heapq.heappush(self._by_capture, (captured_at_us, nonce))
        return held

    def _settle(self, now_us: int) -> None:
        """Takes over restored entries. One captured in the future was never opened, so it is not kept: it could not be
        told from a forged one that wants to stay for ever."""
        for nonce, position, captured_at_us in self._restored:
            if captured_at_us <= now_us + self._ahead_us:
                self._note(nonce, position, captured_at_us)
        self._restored.clear()

    def _drop_old(self, now_us: int) -> None:
        while self._by_capture and self._by_capture[0][0] + self._keep_us < now_us:
            _, nonce = heapq.heappop(self._by_capture)
            self._seen.pop(nonce, None)
