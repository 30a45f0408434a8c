"""Thresholds belong to a model: the settings' if they are set, else the manifest's."""

from __future__ import annotations

import pytest

from pipeline.errors import ModelError
from pipeline.settings import Vision
from pipeline.vision.models import manifest
from pipeline.vision.thresholds import Thresholds, known_thresholds, thresholds

OF_MODEL = {"match": 0.4, "strong": 0.6, "margin": 0.1, "same_face": 0.3, "fmr_1e-3": 0.3}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (Vision(), Thresholds(match=0.4, strong=0.6, margin=0.1, same_face=0.3)),
        (Vision(match_threshold=0.5), Thresholds(match=0.5, strong=0.6, margin=0.1, same_face=0.3)),
        (Vision(strong_threshold=0.9), Thresholds(match=0.4, strong=0.9, margin=0.1, same_face=0.3)),
        (Vision(margin=0), Thresholds(match=0.4, strong=0.6, margin=0, same_face=0.3)),
    ],
)
def test_a_setting_beats_the_manifest(settings: Vision, expected: Thresholds) -> None:
    """Each one alone; 0 is a setting too."""
    assert thresholds(settings, OF_MODEL) == expected


@pytest.mark.parametrize("missing", ["match", "strong", "margin", "same_face"])
def test_a_threshold_that_nobody_names_is_an_error(missing: str) -> None:
    """Another model's number would mean nothing; one sentence says which is missing."""
    with pytest.raises(ModelError, match=f"names no '{missing}'"):
        thresholds(Vision(), {name: value for name, value in OF_MODEL.items() if name != missing})


def test_every_known_embedder_has_all_thresholds() -> None:
    """By hash, as the demo asks for them; an unknown hash is an error."""
    embedders = [spec for spec in manifest() if spec.role == "embedder"]
    assert embedders
    for spec in embedders:
        found = thresholds(Vision(), known_thresholds(spec.sha256))
        assert found.same_face < found.match < found.strong
    with pytest.raises(ModelError, match="no known model"):
        known_thresholds("0" * 64)
