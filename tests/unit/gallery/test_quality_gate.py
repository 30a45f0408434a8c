"""The gate before enrolment: which pictures make a payer, and why others do not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.domain.quality import Limits, Look
from pipeline.gallery.enrolment import EnrolmentRefused, Picture, SeenFace, lookalikes, similar, usable_vectors
from pipeline.gallery.index import ExactIndex
from pipeline.ports import Vector


def at(degrees: float) -> Vector:
    """A unit vector in the plane: two of them are the cosine of the angle between them alike."""
    return np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], np.float32)


LIMITS = Limits(
    min_eye_distance_px=20,
    min_sharpness=10,
    min_brightness=0.1,
    max_brightness=0.9,
    max_clipped=0.5,
    max_yaw=0.4,
    max_pitch=0.3,
    max_roll_deg=30,
)
SEEN_WELL = Look(eye_distance_px=40)


def picture(
    *degrees: float, width_px: float = 80, look: Look | None = SEEN_WELL, eyes_open: bool | None = None
) -> Picture:
    return Picture("a picture", [SeenFace(width_px, at(d), look, eyes_open) for d in degrees])


@pytest.mark.parametrize(
    ("pictures", "outcome"),
    [
        ([picture(0)], 1),
        ([picture(0), picture(20), picture(40)], 3),
        ([picture(0), picture(20), picture(0)], 2),  # the same picture twice counts once
        ([picture(0, width_px=48)], 1),
        ([], "no_picture"),
        ([picture()], "no_face"),
        ([picture(0), picture()], "no_face"),
        ([picture(0, 20)], "several_faces"),
        ([picture(0, width_px=47.9)], "face_too_small"),
        ([picture(0, look=replace(SEEN_WELL, eye_distance_px=19))], "face_too_small"),
        ([picture(0, look=replace(SEEN_WELL, brightness=0.05))], "badly_lit"),
        ([picture(0, look=replace(SEEN_WELL, yaw=0.5))], "turned_away"),
        ([picture(0, look=replace(SEEN_WELL, sharpness=2))], "blurred"),
        ([picture(0), picture(20, eyes_open=False)], "eyes_closed"),
        ([picture(0, eyes_open=True), picture(20, eyes_open=None)], 2),
        ([picture(0, look=None)], 1),
        ([picture(0), picture(70)], "inconsistent"),
        ([picture(0), picture(50), picture(100)], "inconsistent"),  # neighbours agree, the ends do not
        ([picture(0), Picture("nan", [SeenFace(80, np.full(2, np.nan, np.float32))])], "inconsistent"),
    ],
)
def test_the_quality_gate(pictures: list[Picture], outcome: int | str) -> None:
    """Exactly one face each, wide enough, seen well, eyes not closed, every two alike at 60 degrees or less; else a
    reason.
    """
    if isinstance(outcome, int):
        assert len(usable_vectors(pictures, min_face_px=48, min_cosine=0.5, limits=LIMITS)) == outcome
    else:
        with pytest.raises(EnrolmentRefused) as refused:
            usable_vectors(pictures, min_face_px=48, min_cosine=0.5, limits=LIMITS)
        assert (refused.value.reason, refused.value.exit_code) == (outcome, 1)


@pytest.mark.parametrize(
    ("live", "outcome"),
    [(None, "not_live"), (0.49, "not_live"), (0.5, 1), (float("nan"), "not_live")],
)
def test_where_liveness_is_required_each_picture_must_be_live(live: float | None, outcome: int | str) -> None:
    """A picture below the threshold, or that nobody judged, is refused; without a threshold nothing is asked."""
    pictures = [Picture("a picture", [SeenFace(80, at(0), SEEN_WELL, None, live)])]
    assert len(usable_vectors(pictures, min_face_px=48, min_cosine=0.5)) == 1
    if isinstance(outcome, int):
        assert len(usable_vectors(pictures, min_face_px=48, min_cosine=0.5, min_live=0.5)) == outcome
    else:
        with pytest.raises(EnrolmentRefused) as refused:
            usable_vectors(pictures, min_face_px=48, min_cosine=0.5, min_live=0.5)
        assert refused.value.reason == outcome


MATCH, LEAST = 0.5, 0.35  # 60 degrees, 69.5 degrees


@pytest.mark.parametrize(
    ("gallery", "twins", "flagged"),
    [
        ([], (), set()),
        ([("me", 0)], (), set()),
        ([("other", 0)], (), None),
        ([("other", 59)], (), None),
        ([("other", 61)], (), {"other"}),
        ([("other", 69)], (), {"other"}),
        ([("other", 70)], (), set()),
        ([("me", 0), ("other", 30)], (), None),
        ([("me", 0), ("other", 90)], (), set()),
        ([("other", 0)], ("other",), {"other"}),
        ([("other", 90)], ("other",), {"other"}),  # declared, though the pictures differ
        ([("other", 0), ("third", 30)], ("other",), None),  # a twin declared excuses nobody else
        ([("other", 65), ("third", 66), ("third", 0)], ("third",), {"other", "third"}),
    ],
)
def test_a_face_that_others_have(
    gallery: list[tuple[str, float]], twins: tuple[str, ...], flagged: set[str] | None
) -> None:
    """Whoever would be taken for another payer is not enrolled (None), but for declared twins; whoever is only near
    others is flagged with each of them; adding pictures of oneself is fine."""
    index = ExactIndex(2)
    for i, (payer, degrees) in enumerate(gallery):
        index.put(f"t{i}", payer, at(degrees))
    found = similar(index, "me", np.stack([at(180), at(0)]), least=LEAST)
    if flagged is None:
        with pytest.raises(EnrolmentRefused, match="another payer has this face") as why:
            lookalikes(found, match=MATCH, twins=twins)
        assert why.value.reason == "already_enrolled"
    else:
        assert lookalikes(found, match=MATCH, twins=twins) == flagged


def test_a_payer_who_is_flagged_stays_flagged() -> None:
    """More pictures of a lookalike are a lookalike's too, whatever they resemble."""
    index = ExactIndex(2)
    index.put("t1", "me", at(0), lookalike=True)
    index.put("t2", "other", at(90))
    assert similar(index, "me", at(10)[None], least=LEAST).flagged
    assert not similar(index, "other", at(90)[None], least=LEAST).flagged
