"""The limits that decide about a face: what the settings say, else what the embedder's manifest says.

A threshold belongs to a model: 0.475 means one false match in 100,000 for one embedder and nothing for another. So the
settings leave it open by default, and everything that compares embeddings (the agent, enrolment, the demo) asks here.

`fmr.toml` beside this module says what was measured of each embedder's false matches and on which data: from it follows
among how many templates a face may be searched, and at which threshold (`pipeline.domain.fmr`). `facepay evaluate
recognition --calibration FILE` measures it for real people, `facepay evaluate crowd --calibration FILE` for drawn ones.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

import msgspec

from pipeline.domain.fmr import FmrModel
from pipeline.domain.quality import Limits, Look
from pipeline.errors import ModelError
from pipeline.settings import Vision
from pipeline.vision.faces import Face
from pipeline.vision.models import known


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """Cosines. `match`: least similarity of a vote; `strong`: one frame decides; `margin`: least lead over the best
    other payer; `same_face`: two frames show one face."""

    match: float
    strong: float
    margin: float
    same_face: float


@dataclass(frozen=True, slots=True)
class _Calibrated:
    name: str
    sha256: str
    fmr: FmrModel


def thresholds(settings: Vision, of_model: Mapping[str, float]) -> Thresholds:
    """The thresholds in force for an embedder whose manifest says `of_model` (`Engine.thresholds`).

    Raises `ModelError` when neither the settings nor the manifest name one.
    """
    return Thresholds(
        match=_first(settings.match_threshold, of_model, "match", "vision.match_threshold"),
        strong=_first(settings.strong_threshold, of_model, "strong", "vision.strong_threshold"),
        margin=_first(settings.margin, of_model, "margin", "vision.margin"),
        same_face=_first(None, of_model, "same_face", None),
    )


def known_thresholds(model_sha256: str) -> Mapping[str, float]:
    """What the manifest says of the embedder with that hash; raises `ModelError` for an unknown one."""
    spec = known(model_sha256)
    if spec is None:
        raise ModelError(
            f"reading the thresholds of the embedder {model_sha256}: no known model has this SHA-256; use a model that "
            "`facepay models list` names"
        )
    return spec.thresholds


@cache
def fmr_models() -> Mapping[str, FmrModel]:
    """What is known of embedders' false matches, by the SHA-256 of their files."""
    return read_fmr_models(resources.files("pipeline.vision").joinpath("fmr.toml").read_text(encoding="utf-8"))


def known_fmr(model_sha256: str) -> FmrModel | None:
    """What is known of the false matches of the embedder with that hash; None where nobody calibrated it."""
    return fmr_models().get(model_sha256)


def read_fmr_models(text: str) -> Mapping[str, FmrModel]:
    """The models in the text of such a file; raises `ModelError` for one that promises more than its data."""
    try:
        found = msgspec.convert(tomllib.loads(text).get("models", []), tuple[_Calibrated, ...], strict=True)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ModelError(f"reading the false match rates of embedders: {error}; write the file anew") from None
    if len({entry.sha256 for entry in found}) < len(found):
        raise ModelError("reading the false match rates of embedders: a model is there twice; keep one of its tables")
    return {entry.sha256: entry.fmr for entry in found}


def as_toml(name: str, model_sha256: str, fmr: FmrModel) -> str:
    """The model as a table of `fmr.toml`."""
    rows = (
        f"    {{ threshold = {p.threshold:.4g}, fmr = {p.fmr:.3g}, low = {p.low:.3g}, high = {p.high:.3g} }},"
        for p in fmr.points
    )
    return "\n".join(
        [
            "[[models]]",
            f'name = "{name}"',
            f'sha256 = "{model_sha256}"',
            "[models.fmr]",
            f"data = {msgspec.json.encode(fmr.data).decode()}",
            f"people = {fmr.people}",
            f"comparisons = {fmr.comparisons}",
            f"pairs = {fmr.pairs}",
            "points = [",
            *rows,
            "]",
            f"per_decade = {fmr.per_decade:.4g}",
            "",
        ]
    )


def quality_limits(settings: Vision) -> Limits:
    """How well a face must be seen."""
    return Limits(
        min_eye_distance_px=settings.min_eye_distance_px,
        min_sharpness=settings.min_sharpness,
        min_brightness=settings.min_brightness,
        max_brightness=settings.max_brightness,
        max_clipped=settings.max_clipped,
        max_yaw=settings.max_yaw,
        max_pitch=settings.max_pitch,
        max_roll_deg=settings.max_roll_deg,
    )


def look(face: Face) -> Look:
    """What was measured of a face, as the rules of quality see it."""
    seen = face.quality
    return Look(
        eye_distance_px=seen.eye_distance_px,
        sharpness=seen.sharpness,
        brightness=seen.brightness,
        clipped=seen.exposure,
        yaw=seen.yaw,
        pitch=seen.pitch,
        roll_deg=seen.roll,
    )


def _first(set_to: float | None, of_model: Mapping[str, float], name: str, setting: str | None) -> float:
    if set_to is not None:
        return set_to
    if name not in of_model:
        remedy = f", or set {setting}" if setting is not None else ""
        raise ModelError(
            f"reading the embedder's thresholds: its manifest names no '{name}'; use a model that has one{remedy}"
        )
    return of_model[name]
