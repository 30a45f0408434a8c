"""One liveness of many frames. Pure.

The frames of one track show one thing, a person or an attack, under nearly one light: their scores are not
independent, and adding up their evidence (a sum of log odds, as independent witnesses would deserve) would turn five
times the same mistake into certainty. So it is their mean, and the mean of log odds rather than of probabilities,
because 0.999 against 0.9 is as much evidence as 0.9 against 0.09 and a mean of probabilities would not see it. Log
odds are cut at `CUT`, so that no frame, however sure its detector was, outweighs a few others. Frames count by their
weight (`quality.weight`).

Every judged frame of the attempt is in the mean, also those that were not live enough to vote: an attack must not be
able to choose its best frames. And beside the mean there is a floor under each single frame that votes
(`Policy.live_floor`), so that a clear attack is not averaged away. Not weighted voting over calibrated likelihoods:
the shipped detectors are not calibrated, and a fusion that needs calibration would promise more than is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log

CUT = 4.0
"""Log odds of about 0.982 and 0.018."""


def fuse(scores: Sequence[tuple[float, float]]) -> float | None:
    """The liveness, 0..1, of frames given as (score 0..1, weight above 0); None when there is none, or when a score or
    weight is no such number: what could not be measured is not live."""
    if not scores or not all(0.0 <= score <= 1.0 and weight > 0.0 for score, weight in scores):
        return None
    total = sum(weight for _, weight in scores)
    mean = sum(_log_odds(score) * weight for score, weight in scores) / total
    fused = 1.0 / (1.0 + exp(-mean))
    # Rounding must not carry the mean of equal scores below the threshold that each of them reaches.
    low, high = min(score for score, _ in scores), max(score for score, _ in scores)
    return min(max(fused, low), high)


def _log_odds(score: float) -> float:
    if score <= 0.0:
        return -CUT
    if score >= 1.0:
        return CUT
    return min(CUT, max(-CUT, log(score / (1.0 - score))))
