"""Training data is drawn once, whole, and by number: a run that was cut off draws only what is missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from loadtests.people.train.shards import Plan, Rows, drawn


def squares(chunk: int) -> Rows:
    """Two rows that depend on their number alone."""
    first = chunk * 2
    return {"value": np.array([[first**2], [(first + 1) ** 2]], np.float32), "index": np.array([first, first + 1])}


def spoiled(chunk: int) -> Rows:
    """What must not be drawn again."""
    return {"value": np.full((2, 1), -1.0, np.float32), "index": np.full(2, -1 - chunk)}


def broken(chunk: int) -> Rows:
    """Power that fails at the third chunk."""
    if chunk == 2:
        raise OSError("no space left on device")
    return squares(chunk)


def plan(draw: object = squares) -> Plan:
    """Four chunks of two rows."""
    fields = {"value": ((1,), "f4"), "index": ((), "i8")}
    return Plan("squares", 1, 4, 2, fields, draw)  # type: ignore[arg-type]


def test_every_row_is_drawn_in_its_place(tmp_path: Path) -> None:
    """Rows come in the order of their numbers, whichever process drew them."""
    rows = drawn(plan(), tmp_path)
    assert rows["index"].tolist() == list(range(8))
    assert rows["value"][:, 0].tolist() == [number**2 for number in range(8)]


def test_what_is_there_is_not_drawn_again(tmp_path: Path) -> None:
    """A second call, and one after a failure, keep the finished chunks."""
    with pytest.raises(OSError, match="no space"):
        drawn(plan(broken), tmp_path, workers=1)
    drawn(plan(), tmp_path, workers=1)
    assert drawn(plan(spoiled), tmp_path, workers=1)["index"].tolist() == list(range(8))


def test_another_version_is_drawn_anew(tmp_path: Path) -> None:
    """What other code drew is not mixed in."""
    drawn(plan(), tmp_path, workers=1)
    newer = Plan("squares", 2, 4, 2, plan().fields, spoiled)
    assert drawn(newer, tmp_path, workers=1)["index"].tolist() == [-1, -1, -2, -2, -3, -3, -4, -4]
