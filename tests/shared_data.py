"""Where the shared test data lies: models and portraits beside the checkout, which are no part of the repository."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def find_shared() -> Path | None:
    """The folder with `models/` and `faces/`: FACEPAY_SHARED, else ../shared beside the checkout; None when absent."""
    folder = Path(os.environ.get("FACEPAY_SHARED", ROOT.parent / "shared"))
    return folder if (folder / "models").is_dir() and (folder / "faces").is_dir() else None


def require_shared() -> Path:
    """As `find_shared`; skips the test with one sentence when it is absent."""
    folder = find_shared()
    if folder is None:
        pytest.skip("shared models and faces are absent: put them in ../shared or set FACEPAY_SHARED")
    return folder
