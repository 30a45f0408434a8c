"""Templates age: when a payment may refresh what is known of a payer's face, and when not.

A face changes over years, the enrolled pictures do not. A payment that succeeded may leave one adaptive template beside
them, which the next refresh replaces: never more than one. The danger is poisoning: whoever passes once (a lookalike, a
morph, an attack that liveness missed) would stay in the gallery. So a refresh asks more than a payment does
(`refusal`): nothing about the recognition may be in doubt, the payment was confirmed by the PIN or the similarity is
far above what a decision needs, and the new face is measured against the enrolled pictures, which are kept for ever,
not against the last adaptive template: many small steps lead nowhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Refusal = Literal[
    "not_settled", "lookalike", "liveness_unproven", "eyes_unknown", "poorly_seen", "thin_margin", "not_proven",
    "too_far", "nothing_new", "too_soon",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Refresh:
    """The rule. Cosines; `strong` is the embedder's threshold at which one frame decides."""

    strong: float
    far_above: float = 0.1
    """How much above `strong` the similarity must be where no PIN confirmed the payment."""
    anchor: float | None = None
    """Least cosine to the nearest enrolled template; unset: `strong`."""
    nothing_new: float = 0.9
    """Nearer than this to what is there, a refresh tells the gallery nothing."""
    min_quality: float = 0.8
    min_margin: float = 0.2
    min_age_us: int = 30 * 86_400 * 1_000_000
    """Between two refreshes of one payer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Success:
    """A recognition and the settlement that followed: what was measured, in doubt None. `to_enrolled` and `to_adaptive`
    are the cosines of the new face to the nearest enrolled template and to the adaptive one (None: there is none)."""

    method: Literal["face", "face_pin"] | None
    similarity: float
    margin: float
    quality: float | None
    liveness_proven: bool | None
    eyes_open: bool | None
    lookalike: bool | None
    to_enrolled: float
    to_adaptive: float | None
    since_refresh_us: int | None


def refusal(success: Success, rule: Refresh) -> Refusal | None:
    """Why this success refreshes nothing; None: it may."""
    anchor = rule.strong if rule.anchor is None else rule.anchor
    proven = success.method == "face_pin" or success.similarity >= rule.strong + rule.far_above
    nearest = max(success.to_enrolled, -1.0 if success.to_adaptive is None else success.to_adaptive)
    reasons: tuple[tuple[Refusal, bool], ...] = (
        ("not_settled", success.method is None),
        # What is unknown counts as the worse.
        ("lookalike", success.lookalike is not False),
        ("liveness_unproven", success.liveness_proven is not True),
        ("eyes_unknown", success.eyes_open is not True),
        ("poorly_seen", not (success.quality is not None and success.quality >= rule.min_quality)),
        ("thin_margin", not success.margin >= rule.min_margin),
        ("not_proven", not (proven and success.similarity >= rule.strong)),
        ("too_far", not success.to_enrolled >= anchor),
        ("nothing_new", not nearest < rule.nothing_new),
        ("too_soon", success.since_refresh_us is not None and success.since_refresh_us < rule.min_age_us),
    )
    return next((reason for reason, holds in reasons if holds), None)
