"""When a payment refreshes a template: nothing in doubt, and never far from the enrolled pictures."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.ageing import Refresh, Success, refusal

RULE = Refresh(strong=0.65)
GOOD = Success(
    method="face_pin", similarity=0.7, margin=0.4, quality=0.9, liveness_proven=True, eyes_open=True, lookalike=False,
    to_enrolled=0.7, to_adaptive=None, since_refresh_us=None,
)  # fmt: skip


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({}, None),
        ({"method": None}, "not_settled"),
        ({"lookalike": True}, "lookalike"),
        ({"lookalike": None}, "lookalike"),
        ({"liveness_proven": False}, "liveness_unproven"),
        ({"liveness_proven": None}, "liveness_unproven"),
        ({"eyes_open": None}, "eyes_unknown"),
        ({"quality": None}, "poorly_seen"),
        ({"quality": 0.79}, "poorly_seen"),
        ({"margin": 0.19}, "thin_margin"),
        ({"margin": float("nan")}, "thin_margin"),
        ({"similarity": 0.64}, "not_proven"),
        ({"method": "face"}, "not_proven"),
        ({"method": "face", "similarity": 0.76, "to_enrolled": 0.76}, None),
        ({"to_enrolled": 0.64}, "too_far"),
        ({"to_enrolled": 0.64, "to_adaptive": 0.8}, "too_far"),  # many small steps lead nowhere
        ({"to_enrolled": float("nan")}, "too_far"),
        ({"to_enrolled": 0.95}, "nothing_new"),
        ({"to_adaptive": 0.95}, "nothing_new"),
        ({"since_refresh_us": 29 * 86_400_000_000}, "too_soon"),
        ({"since_refresh_us": 30 * 86_400_000_000}, None),
    ],
)
def test_what_refreshes(change: dict[str, Any], why: str | None) -> None:
    """Each doubt alone is enough to leave the gallery as it is."""
    assert refusal(replace(GOOD, **change), RULE) == why


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=20))
def test_no_walk_leaves_the_enrolled_pictures(cosines: list[float]) -> None:
    """However the adaptive template moved before, the next one is near an enrolled picture, or is not taken."""
    adaptive: float | None = None
    for to_enrolled in cosines:
        if refusal(replace(GOOD, to_enrolled=to_enrolled, to_adaptive=adaptive), RULE) is None:
            adaptive = 0.0
            assert to_enrolled >= RULE.strong
