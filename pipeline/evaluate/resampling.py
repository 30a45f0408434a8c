"""The bootstrap by identity: people are drawn anew, not pairs, because the comparisons of one person are alike.

A replicate draws as many identities as there are, with replacement, and each comparison counts as often as its people
were drawn: a mated one w[i] times, a non-mated one of two people w[i] * w[j] times (the two-way bootstrap; Schuckers,
Computational Methods in Biometric Authentication, 2010, and Poh and Bengio, 2007). Intervals over pairs alone would be
several times too narrow. The same seed gives the same replicates on every machine.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

SEED = 19795
REPLICATES = 1000
FEWEST = 200
"""Replicates where comparisons are so many that a thousand would take minutes."""

_BUDGET = 150_000_000
"""Comparisons that all replicates together may weigh: about three seconds."""

Weights = npt.NDArray[np.float64]
"""float64 (replicates, identities): how often each identity was drawn."""


def draws(identities: int, replicates: int = REPLICATES, seed: int = SEED) -> Weights:
    """Multinomial weights: each row sums to `identities`."""
    if identities == 0:
        return np.zeros((replicates, 0))
    generator = np.random.default_rng(seed)
    return generator.multinomial(identities, np.full(identities, 1 / identities), size=replicates).astype(np.float64)


def affordable(comparisons: int) -> int:
    """How many replicates to draw when each weighs so many comparisons."""
    return int(np.clip(_BUDGET // max(comparisons, 1), FEWEST, REPLICATES))


def ratio(errors: Weights, trials: Weights) -> Weights:
    """Errors over trials per replicate, NaN where a replicate drew no trial."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(trials > 0, errors / trials, np.nan)
