"""When may the answer of the hot set stand for the answer of the whole gallery? The rule, as arithmetic.

A probe q has cosine s to a template t of the payer who leads the hot set. Another payer's template u, anywhere in the
gallery, has cosine c to t. With q = s t + sqrt(1-s^2) w and u = c t + sqrt(1-c^2) v, where w and v are directions at
right angles to t,

    q.u = s c + sqrt(1-s^2) sqrt(1-c^2) (w.v)

How near everybody is to t is counted once per hot template over the whole gallery, and w is known when q is. What is
not known without a search is w.v: how much of the way in which this picture differs from its template points towards
somebody else. Over the people of a gallery it is normal, its mean square being that of the gallery along w, w'Sw
(`scan`): real faces show that as far as their number goes (docs/hot-tier.md). With d' = `share` / w'Sw directions,
the expected number of u that pass s - m, m being the largest margin that any later rule asks for, is

    sum over u of Q((s - m - s c_u) sqrt(d') / (sqrt(1-s^2) sqrt(1-c_u^2))),      Q the normal tail.

Where it is at most `limit` the answer stands: that bounds the probability that this decision differs (union bound). It
falls with s, tenfold about each 0.02, so that a template has, for each d', one least similarity from which its answers
stand; with somebody very near there may be none. Over all searches the bounds that were used up are held to `mean` each
(`decide`). The few payers who are nearest are not in the sum: a hot answer is compared with them exactly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

EDGES: npt.NDArray[np.float32] = np.concatenate([[-1.0], np.arange(5, 51) / 50.0]).astype(np.float32)
"""Borders of the bins that cosines between templates are counted in: one for all below 0.1, then each 0.02."""
BINS = len(EDGES) - 1
GRID: npt.NDArray[np.float64] = np.arange(300, 1000, 5) / 1000.0
"""Similarities of a probe that the rule is worked out for."""
LEVELS = 32
"""Level k stands for dimension * 0.95^k directions, the last for a fifth of the dimension; fewer never stand."""
NEVER = np.float32(np.inf)
"""The least similarity of a template whose answers never stand."""

_STEP = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """`margin`: the largest lead over the best other payer that any later rule asks for (cosine). The probability that
    a decision differs is at most `limit` in one search and `mean` over all of them. `share` of the directions that the
    gallery shows are counted on. `nearest`: payers compared with exactly. `headroom`: for rounding of cosines and of a
    margin compared as a float."""

    margin: float
    limit: float = 1e-5
    mean: float = 1e-6
    share: float = 0.95
    nearest: int = 64
    headroom: float = 0.002

    @property
    def lead(self) -> float:
        """By how much, at least, an answer that stands leads every other payer."""
        return self.margin + self.headroom


def levels(rule: Rule, dimension: int, squares: npt.NDArray[np.float64], payers: int) -> npt.NDArray[np.int64]:
    """The level of each mean square along a probe's direction, float64 (n,); `LEVELS` for too few directions.
    `payers`: how many people the mean square was taken over. It is raised by three of its standard errors."""
    raised = squares * (1.0 + 3.0 * math.sqrt(2.0 / max(payers, 1)))
    directions = np.minimum(rule.share / np.maximum(raised, 1e-9), dimension)
    level = np.ceil(np.log(directions / dimension) / math.log(_STEP) - 1e-9)
    return np.asarray(np.clip(level, 0, LEVELS), np.int64)


def least(rule: Rule, dimension: int, counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """The least similarity to each template from which its answers stand, float32 (n, LEVELS); `NEVER` where none
    does. `counts` int64 (n, BINS): templates of other payers by their cosine to it."""
    found = np.full((len(counts), LEVELS), NEVER, np.float32)
    for level in range(LEVELS):
        stands = counts.astype(np.float64) @ _table(rule, dimension, level) <= rule.limit
        # From the first similarity on beyond which no risk is above the limit.
        first = len(GRID) - np.cumprod(stands[:, ::-1], axis=1).sum(axis=1)
        some = np.flatnonzero(first < len(GRID))
        found[some, level] = GRID[first[some]]
    return found


def risk(rule: Rule, dimension: int, counts: npt.NDArray[np.int64], level: int, similarity: float) -> float:
    """The bound for one answer at `similarity`: `counts` int64 (BINS,) of its template. Never too small: it is that of
    the next lower similarity worked out."""
    column = max(0, min(len(GRID) - 1, int(np.searchsorted(GRID, similarity, side="right")) - 1))
    return float(counts @ _table(rule, dimension, level)[:, column])


@cache
def _table(rule: Rule, dimension: int, level: int) -> npt.NDArray[np.float64]:
    """Float64 (BINS, similarities): the probability that one template of a bin passes s - m."""
    nearest = EDGES[1:, None].astype(np.float64)
    # Within a bin the cosine nearest to 1 moves the mean most, that nearest to 0 leaves the most room to vary.
    inside = np.where(EDGES[:-1] < 0, 0.0, EDGES[:-1]).astype(np.float64)[:, None]
    room = np.sqrt(1.0 - GRID**2)[None, :] * np.sqrt(1.0 - inside**2)
    gap = GRID[None, :] - rule.lead - GRID[None, :] * nearest
    beyond = gap * math.sqrt(dimension * _STEP**level) / np.maximum(room, 1e-9)
    return np.asarray(_tail(beyond), np.float64)


_tail = np.vectorize(lambda x: 0.5 * math.erfc(x / math.sqrt(2.0)), otypes=[np.float64])
"""The upper tail of the normal distribution."""
