"""A shop of a test's own on the session's Kafka."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.runtime.shop import Shop


@pytest.fixture
def shop(kafka: str, tmp_path: Path) -> Iterator[Shop]:
    made = Shop(kafka, tmp_path)
    yield made
    made.close()
