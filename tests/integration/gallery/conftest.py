"""Fixtures of the gallery's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.gallery.gallery_world import Place


@pytest.fixture
def place(kafka: str, tmp_path: Path) -> Iterator[Place]:
    """An installation with topics of its own."""
    made = Place(kafka, tmp_path)
    yield made
    made.close()
