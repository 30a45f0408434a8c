"""Two agents at work while Redis is killed, paused, flushed, trimmed and scribbled on, and people are erased.

`storm` is the drill; `make test` runs seconds of it, `make chaos` minutes. Each hot answer is compared with the exact
index of its agent as it is given, and with who has been erased.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from pipeline.errors import InvalidMessage, RedisUnavailable
from pipeline.gallery.hot import HotEraser
from pipeline.local.redis_server import RedisServer
from tests.integration.gallery.hot.hot_world import DIMENSION, Agent, Person, client, probes
from tests.stack import wait_until

ERASED_EVERYWHERE_S = 2.0


@dataclass
class Seen:
    """What the drill saw. `wrong`: hot answers that the exact index does not give, or of people erased before."""

    results: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    erased: dict[str, float] = field(default_factory=dict)


class Storm:
    """Over agents of one region and the same people."""

    def __init__(
        self, server: RedisServer, agents: list[Agent], some: list[Person], eraser: HotEraser, *, seed: int
    ) -> None:
        self.server = server
        self.agents = agents
        self.people = some
        self.eraser = eraser
        self.seen = Seen()
        self._draw = random.Random(f"hot {seed}")
        self._stop = threading.Event()
        self._lock = threading.Lock()

    def run(self, *, seconds: float = 0.0) -> Seen:
        """Each strike once in a drawn order, and again until the time is over. Before each, people are answered hot."""
        payers = [threading.Thread(target=self._pay, args=(agent, n)) for n, agent in enumerate(self.agents)]
        eraser = threading.Thread(target=self._erase)
        for thread in (*payers, eraser):
            thread.start()
        try:
            until = time.monotonic() + seconds
            while True:
                for strike in self._draw.sample(self._strikes(), len(self._strikes())):
                    before = self.seen.results["hot"]
                    wait_until(lambda before=before: self.seen.results["hot"] > before, 20, "hot answers")  # type: ignore[misc]
                    strike()
                    self._stop.wait(self._draw.uniform(0.0, 0.2))
                if time.monotonic() > until:
                    return self.seen
        finally:
            self.server.resume()
            self.server.start()
            self._stop.set()
            for thread in (*payers, eraser):
                thread.join(60)

    def calm(self) -> None:
        """Every agent has what Redis has, and Redis has nobody who was erased, and nothing half."""
        living = [person for person in self.people if person.payer_id not in self.seen.erased]

        store, seal = self.agents[0].store, self.agents[0].seal

        def readable() -> set[str]:
            found = set()
            for tag, sealed in store.scan():
                with contextlib.suppress(InvalidMessage):
                    assert seal.open(tag, sealed, DIMENSION).payer_id not in self.seen.erased
                    found.add(tag)
            return found

        def settled() -> bool:
            # What strangers wrote beside the times of the tier has no age: this ends it, each minute by itself.
            store.tidy()
            return all({tag for tag, _ in agent.tier.mirror.hot()} == readable() for agent in self.agents)

        wait_until(lambda: all(agent.tier.state == "following" for agent in self.agents), 20, "both mirrors")
        wait_until(settled, 20, "both mirrors to be like Redis")
        plain = client(self.server.address)
        assert plain.hlen(store.space.keys[0]) == plain.zcard(store.space.keys[1])
        plain.close()
        for agent in self.agents:
            agent.warm(living[:3])

    def _strikes(self) -> list[Callable[[], None]]:
        return [self._kill, self._pause, self._restart, self._flush, self._trim, self._scribble]

    def _kill(self) -> None:
        self.server.kill()
        self.server.start()

    def _restart(self) -> None:
        self.server.restart()

    def _pause(self) -> None:
        self.server.pause()
        self._stop.wait(0.4)
        self.server.resume()

    def _flush(self) -> None:
        plain = client(self.server.address)
        plain.flushall()
        plain.close()

    def _trim(self) -> None:
        plain = client(self.server.address)
        plain.xtrim(self.agents[0].store.space.keys[2], maxlen=0, approximate=False)
        plain.close()

    def _scribble(self) -> None:
        plain, keys = client(self.server.address), self.agents[0].store.space.keys
        tag = self.agents[0].seal.tag(self._draw.choice(self.people).payer_id)
        plain.hset(keys[0], tag, self._draw.randbytes(600))
        plain.xadd(keys[2], {"op": "put", "tag": tag})
        plain.close()

    def _pay(self, agent: Agent, number: int) -> None:
        draw = random.Random(number)
        while not self._stop.is_set():
            some = draw.sample(self.people, 4)
            looks = probes(some, seed=draw.randrange(1 << 30))
            began = time.monotonic()
            with self._lock:
                gone = {payer_id for payer_id, at in self.seen.erased.items() if began - at > ERASED_EVERYWHERE_S}
            found = agent.tier.search(looks)
            took = time.monotonic() - began
            self.seen.slowest_s = max(self.seen.slowest_s, took)
            for person, answer, exact in zip(some, found, agent.index.search(looks), strict=True):
                self.seen.results["exact" if answer is None else "hot"] += 1
                if answer is None:
                    if exact is not None and exact.payer_id == person.payer_id:
                        agent.tier.offer(person.payer_id)
                    continue
                if answer.payer_id in gone:
                    self.seen.wrong.append("erased")
                still = agent.index.templates_of(answer.payer_id)
                same = exact is not None and (exact.payer_id, exact.similarity) == (answer.payer_id, answer.similarity)
                if answer.payer_id != person.payer_id or (still and not same):
                    self.seen.wrong.append("different")
            self._stop.wait(0.005)

    def _erase(self) -> None:
        """One person after the other; the second agent hears of it later than the first, while both put people."""
        for person in self.people[: len(self.people) // 2]:
            if self._stop.wait(self._draw.uniform(0.1, 0.5)):
                return
            first, *others = self._draw.sample(self.agents, len(self.agents))
            first.forget(person)
            while not self._stop.is_set():
                try:
                    self.eraser.erase(person.payer_id)
                    break
                except RedisUnavailable:
                    self._stop.wait(0.05)
            self._stop.wait(self._draw.uniform(0.0, 0.3))
            for other in others:
                other.forget(person)
            with self._lock:
                self.seen.erased[person.payer_id] = time.monotonic()
