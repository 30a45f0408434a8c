"""The limits that decide about a face: what the settings say, else what the embedder's manifest says.

A threshold belongs to a model: 0.475 means one false match in 100,000 for one embedder and nothing for another. So the
settings leave it open by default, and everything that compares embeddings (the agent, enrolment, the demo) asks here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

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
