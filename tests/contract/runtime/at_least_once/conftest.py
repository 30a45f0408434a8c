"""Both loops, on the session's Kafka."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.runtime.at_least_once.echo import Bench, MakeBench


@pytest.fixture(params=["batch", "faust"])
def loop(request: pytest.FixtureRequest) -> str:
    """The loop under test."""
    return str(request.param)


@pytest.fixture
def bench(loop: str, kafka: str, tmp_path: Path) -> Iterator[MakeBench]:
    """Makes benches of this loop; their workers end with the test."""
    made: list[Bench] = []

    def make(bootstrap: str = kafka, **options: object) -> Bench:
        made.append(Bench(bootstrap, tmp_path, loop, **options))  # type: ignore[arg-type]  # as the test names them
        return made[-1]

    yield make
    for one in made:
        one.close()
