"""The terminal's gate, applied to still pictures: the same hints as a payer would get."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.evaluate.gate import refused
from pipeline.settings import Vision
from pipeline.vision.faces import Box
from tests.unit.evaluate.people import GOOD, seen


@pytest.mark.parametrize(
    ("width_px", "quality", "expected"),
    [
        (90, {}, ""),
        (47, {}, "come_closer"),
        (90, {"eye_distance_px": 5.0}, "come_closer"),
        (90, {"brightness": 0.02}, "better_light"),
        (90, {"exposure": 0.9}, "better_light"),
        (90, {"yaw": -0.8}, "look_here"),
        (90, {"pitch": 0.8}, "look_here"),
        (90, {"roll": 60.0}, "look_here"),
        (90, {"sharpness": 0.5}, "hold_still"),
    ],
)
def test_a_face_is_refused_as_at_a_terminal(width_px: float, quality: dict[str, float], expected: str) -> None:
    """Every measured quality reaches the rule that judges it."""
    face = seen("x", quality=replace(GOOD, **quality)).face
    assert face is not None
    assert refused(replace(face, box=Box(0, 0, width_px, 90)), Vision()) == expected
