"""What kills and what races: a short storm over the hot tier, an agent killed as it writes, an erasure against puts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.gallery.hot import HotEraser
from pipeline.keys.keyring import Keyring
from pipeline.local.redis_server import RedisServer
from pipeline.settings import Hot
from pipeline.settings import Redis as RedisSettings
from tests.integration.gallery.hot.hot_storm import Storm
from tests.integration.gallery.hot.hot_world import MODEL, agent, client, people
from tests.stack import unique, wait_until

PEOPLE = people(40)

WRITES_FOR_EVER = """
import sys
from pathlib import Path
from pipeline.keys.keyring import Keyring
from tests.integration.gallery.hot.hot_world import agent, people

url, keys, region = sys.argv[1:]
some = people(40)
with agent(url, Keyring.open(Path(keys)), some, region=region) as one:
    while True:
        for person in some:
            one.tier.offer(person.payer_id)
"""


def test_a_storm_over_redis_and_erasures_makes_nothing_wrong(server: RedisServer, keyring: Keyring) -> None:
    """Killed, paused, flushed, trimmed and scribbled on: colder, never another answer than the exact one."""
    region = unique("storm")
    eraser = HotEraser(RedisSettings(url=server.address), Hot(region=region), keyring, model_sha256=MODEL)
    with (
        agent(server.address, keyring, PEOPLE, region=region, timeout_ms=100) as one,
        agent(server.address, keyring, PEOPLE, region=region, timeout_ms=100) as two,
    ):
        storm = Storm(server, [one, two], PEOPLE, eraser, seed=1)
        seen = storm.run()
        assert seen.wrong == []
        assert seen.erased
        storm.calm()


def test_an_agent_killed_as_it_writes_leaves_whole_entries(
    server: RedisServer, keyring: Keyring, root: Path, tmp_path: Path
) -> None:
    """Between a recognition and its write, and in the middle of writes: what is there opens, the rest comes again."""
    region = unique("killed")
    with agent(server.address, keyring, PEOPLE, region=region) as survivor:
        began = survivor.store.position().seq
        call = [sys.executable, "-c", WRITES_FOR_EVER, server.address, str(keyring.folder), region]
        with (tmp_path / "log").open("wb") as log, subprocess.Popen(call, cwd=root, stdout=log, stderr=log) as child:
            try:
                wait_until(lambda: survivor.store.position().seq > began, 60, "its first writes")
            finally:
                os.kill(child.pid, signal.SIGKILL)
        entries = dict(survivor.store.scan())
        assert entries
        for tag, sealed in entries.items():
            assert survivor.seal.open(tag, sealed, survivor.index.dimension).vectors.shape == (2, 64)
        plain, keys = client(server.address), survivor.store.space.keys
        assert plain.hlen(keys[0]) == plain.zcard(keys[1]) == len(entries)
        plain.close()
        wait_until(lambda: survivor.tier.mirror.payers == len(entries), 10, "the other agent's mirror")
        survivor.warm(PEOPLE)


@pytest.mark.parametrize("eraser_comes", [True, False], ids=["the eraser reached Redis", "only the gallery heard"])
def test_an_erasure_between_reading_and_putting_wins(
    server: RedisServer, keyring: Keyring, monkeypatch: pytest.MonkeyPatch, *, eraser_comes: bool
) -> None:
    """The writer has read the payer's templates; they are erased; then the put arrives."""
    region = unique("race")
    eraser = HotEraser(RedisSettings(url=server.address), Hot(region=region), keyring, model_sha256=MODEL)
    with (
        agent(server.address, keyring, PEOPLE, region=region) as one,
        agent(server.address, keyring, PEOPLE, region=region) as two,
    ):
        one.warm(PEOPLE[:2])
        put, victim = one.store.put, PEOPLE[2]

        def late(tag: str, sealed: bytes) -> bool:
            if eraser_comes:
                eraser.erase(victim.payer_id)
            else:
                one.forget(victim)
            return put(tag, sealed)

        monkeypatch.setattr(one.store, "put", late)
        one.tier.offer(victim.payer_id)
        wait_until(lambda: one.tier.idle, 10, "the put")
        assert not eraser.holds(victim.payer_id)
        at = one.store.position().seq
        one.store.touch(one.seal.tag(PEOPLE[0].payer_id))
        wait_until(lambda: two.tier.silent_s < 0.2 and two.store.position().seq == at, 10, "the other agent to follow")
        wait_until(lambda: two.tier.mirror.template_ids(victim.payer_id) == (), 2, "the other agent's mirror")
        assert not one.answers(victim)
        assert not two.answers(victim)
