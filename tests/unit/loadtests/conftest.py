"""What the tests of the demo's people and terminals share."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A portrait file."""
    path = tmp_path / "face.png"
    cv2.imwrite(str(path), np.full((60, 50, 3), 90, np.uint8))
    return path
