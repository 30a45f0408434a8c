"""A long storm over the hot tier; `tests/integration/gallery/hot` has seconds of it.

`make chaos` runs it. `FACEPAY_HOT_STORM_S` and `FACEPAY_HOT_STORM_SEED` set its length in seconds and its seed.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.gallery.hot import HotEraser
from pipeline.keys.keyring import Keyring
from pipeline.local.redis_server import RedisServer
from pipeline.settings import Hot
from pipeline.settings import Redis as RedisSettings
from tests.integration.gallery.hot.hot_storm import Storm
from tests.integration.gallery.hot.hot_world import MODEL, agent, people
from tests.stack import unique

# Read before the tests' fixture takes FACEPAY_* out of the environment.
SECONDS = float(os.environ.get("FACEPAY_HOT_STORM_S", "120"))
SEED = int(os.environ.get("FACEPAY_HOT_STORM_SEED", "7"))


@pytest.mark.timeout(SECONDS + 180)
def test_a_long_storm_makes_nothing_wrong(tmp_path: Path) -> None:
    """Hundreds of strikes and erasures: never an answer that the exact index would not give, nor one erased."""
    server = RedisServer(tmp_path / "redis")
    server.start()
    region = unique("storm")
    keyring = Keyring.create(tmp_path / "keys")
    some = people(400)
    eraser = HotEraser(RedisSettings(url=server.address), Hot(region=region), keyring, model_sha256=MODEL)
    try:
        with (
            agent(server.address, keyring, some, region=region, timeout_ms=100) as one,
            agent(server.address, keyring, some, region=region, timeout_ms=100) as two,
        ):
            storm = Storm(server, [one, two], some, eraser, seed=SEED)
            seen = storm.run(seconds=SECONDS)
            print(seen.results, len(seen.erased), f"slowest {seen.slowest_s:.3f} s")  # noqa: T201 - the drill's result
            assert seen.wrong == []
            storm.calm()
    finally:
        server.stop()
