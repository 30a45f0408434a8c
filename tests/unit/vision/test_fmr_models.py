"""What is known of embedders' false matches: every embedder has an entry, and none promises more than its data."""

from __future__ import annotations

import pytest

from pipeline.domain.fmr import FmrModel, FmrPoint, Trials, supported
from pipeline.errors import ModelError
from pipeline.settings import Vision
from pipeline.vision.models import manifest
from pipeline.vision.thresholds import as_toml, fmr_models, known_fmr, read_fmr_models, thresholds

MODEL = FmrModel(
    data='who "they" are',
    people=100,
    comparisons=9900,
    pairs=4950,
    points=(
        FmrPoint(threshold=0.3, fmr=0.01, low=0.008, high=0.012),
        FmrPoint(threshold=0.4, fmr=0.001, low=0.0, high=0.002),
    ),
    per_decade=0.07,
)
TOML = as_toml("ours", "0" * 64, MODEL)


def test_every_known_embedder_is_calibrated_and_no_other_file() -> None:
    """By hash; what the manifest calls `match` is within what was measured of it."""
    embedders = {spec.sha256: spec for spec in manifest() if spec.role == "embedder"}
    assert set(fmr_models()) == set(embedders)
    for sha256, spec in embedders.items():
        model = known_fmr(sha256)
        assert model is not None
        found = model.fmr_at(thresholds(Vision(), spec.thresholds).match)
        assert found.support == "measured"
        assert found.fmr <= 2e-5
    assert known_fmr("0" * 64) is None


def test_as_shipped_a_face_alone_goes_as_far_as_the_data() -> None:
    """Some hundred templates on 499 real people; never more than one decade beyond one match among all pairs."""
    vision = Vision()
    trials = Trials(frames=vision.patience, attempts=vision.max_attempts)
    for model in fmr_models().values():
        most = supported(model, trials, vision.max_fpir)
        assert 100 <= most <= vision.max_fpir * 10 * model.pairs / trials.comparisons(1)


def test_what_is_written_is_read_again() -> None:
    """The same model, to the digits that are written."""
    assert read_fmr_models(TOML) == {"0" * 64: MODEL}
    assert read_fmr_models("") == {}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (TOML.replace("fmr = 0.001", "fmr = 0.0001").replace("low = 0,", "low = 0.0,"), "less than one match"),
        (TOML.replace("pairs = 4950", "pairs = 100000"), "cannot be"),
        (TOML.replace("per_decade = 0.07", "per_decade = -0.07"), "rises with each decade"),
        (TOML.replace("threshold = 0.4", "threshold = 0.2"), "do not fall"),
        (TOML.replace("people = 100", 'people = "many"'), "Expected `int`"),
        (TOML.replace("per_decade = 0.07", ""), "per_decade"),
        (TOML + TOML, "twice"),
        ("[[models]", "false match rates of embedders"),
    ],
)
def test_a_file_that_promises_too_much_is_refused(text: str, says: str) -> None:
    """In one sentence that says where."""
    with pytest.raises(ModelError, match=says):
        read_fmr_models(text)
