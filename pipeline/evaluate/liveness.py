"""Error rates of presentation attack detection (ISO/IEC 30107-3:2023), and of telling open eyes from closed ones.

APCER of a species is the share of its attack presentations that were classified as bona fide, BPCER the share of bona
fide presentations classified as attacks; species are never averaged, the worst one speaks. Presentations on which no
face was found or acquired were not classified: they are counted as non-responses (APNRR, BPNRR), apart. AUC is the
chance that a bona fide score is above an attack's.

Intervals: exact binomial ones where every presentation is of another identity or identities are unknown, else people
are drawn anew. With zero errors the bound is that of zero errors in as many trials as there are people.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.evaluate.intervals import Interval, binomial, percentiles, zero_errors_bound
from pipeline.evaluate.resampling import SEED, draws, ratio
from pipeline.evaluate.sightings import Sighting
from pipeline.vision.liveness import FUSED

LIVE = "live"
"""The label of a bona fide presentation; every other one names the species of an attack."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """Errors among presentations of one kind that were classified; `non_responses` were not."""

    name: str
    rate: float | None
    ci: Interval
    errors: int
    classified: int
    non_responses: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Liveness:
    """All figures at one threshold."""

    threshold: float
    attacks: Sequence[Share]
    bona_fide: Share
    auc: float | None
    auc_ci: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Eyes:
    """Closed eyes that were taken for open, and open ones that were not (not sure counts as not open: then the payer is
    asked for a PIN).
    """

    closed_accepted: Share
    open_refused: Share


def is_live(sighting: Sighting) -> bool:
    """Whether the label says bona fide."""
    return sighting.labels["label"].lower() == LIVE


def score_of(sighting: Sighting) -> float | None:
    """The fused live score of a sighting that was classified."""
    if sighting.outcome != "seen" or sighting.face is None or sighting.face.live is None:
        return None
    return sighting.face.live.get(FUSED)


def rates(sightings: Sequence[Sighting], threshold: float) -> Liveness:
    """APCER per species and BPCER of accepting a score of at least `threshold`, and AUC over all attacks."""
    readable = [s for s in sightings if s.outcome != "unreadable"]
    bona_fide = [s for s in readable if is_live(s)]
    attacks = [s for s in readable if not is_live(s)]
    auc, auc_ci = _auc(bona_fide, attacks)
    return Liveness(
        threshold=threshold,
        attacks=[
            _share(name, [s for s in attacks if s.labels["label"] == name], lambda score: score >= threshold)
            for name in sorted({s.labels["label"] for s in attacks})
        ],
        bona_fide=_share(LIVE, bona_fide, lambda score: score < threshold),
        auc=auc,
        auc_ci=auc_ci,
    )


def eyes(sightings: Sequence[Sighting]) -> Eyes | None:
    """Figures over the pictures whose column `eyes` says open or closed; None where none does or no model looked."""
    told = [s for s in sightings if s.labels.get("eyes", "").lower() in {"open", "closed"}]
    if not any(s.face is not None and s.face.eyes is not None for s in told):
        return None
    closed = [s for s in told if s.labels["eyes"].lower() == "closed"]
    opened = [s for s in told if s.labels["eyes"].lower() == "open"]
    return Eyes(
        closed_accepted=_counted("closed", closed, [_said_open(s) for s in closed]),
        open_refused=_counted("open", opened, [None if (o := _said_open(s)) is None else not o for s in opened]),
    )


def _said_open(sighting: Sighting) -> bool | None:
    """Whether the eyes were said to be open; None where no model looked at them."""
    if sighting.outcome != "seen" or sighting.face is None or sighting.face.eyes is None:
        return None
    return sighting.face.eyes_open is True


def _share(name: str, sightings: Sequence[Sighting], wrong: Callable[[float], bool]) -> Share:
    scores = [score_of(s) for s in sightings]
    return _counted(name, sightings, [None if score is None else wrong(score) for score in scores])


def _counted(name: str, sightings: Sequence[Sighting], wrong: Sequence[bool | None]) -> Share:
    """`wrong` per sighting; None where it was not classified."""
    kept = [
        (_who(s, place), error)
        for place, (s, error) in enumerate(zip(sightings, wrong, strict=True))
        if error is not None
    ]
    errors = sum(error for _, error in kept)
    rate = errors / len(kept) if kept else None
    return Share(
        name=name,
        rate=rate,
        ci=_interval([who for who, _ in kept], np.array([error for _, error in kept], np.float64)),
        errors=errors,
        classified=len(kept),
        non_responses=len(sightings) - len(kept),
    )


def _interval(who: Sequence[str], wrong: npt.NDArray[np.float64]) -> Interval:
    """Of a share of presentations, by the people behind them."""
    names, person = np.unique(np.array(who, dtype=str), return_inverse=True)
    if len(names) == len(who):
        return binomial(int(wrong.sum()), len(who))
    weights = draws(len(names))
    drawn = ratio(weights @ np.bincount(person, wrong), weights @ np.bincount(person).astype(np.float64))
    low, high = percentiles(drawn, float(wrong.mean()))
    bound = zero_errors_bound(len(names))
    return (min(low, 1 - bound) if wrong.all() else low), (max(high, bound) if not wrong.any() else high)


def _auc(bona_fide: Sequence[Sighting], attacks: Sequence[Sighting]) -> tuple[float | None, Interval]:
    live = [(_who(s, place), score) for place, s in enumerate(bona_fide) if (score := score_of(s)) is not None]
    fake = [(_who(s, -place - 1), score) for place, s in enumerate(attacks) if (score := score_of(s)) is not None]
    if not live or not fake:
        return None, (0.0, 1.0)
    names = sorted({who for who, _ in [*live, *fake]})
    place_of = {name: place for place, name in enumerate(names)}
    wins = _wins(np.array([score for _, score in live]), np.array([score for _, score in fake]))
    weights = draws(len(names), seed=SEED)
    left = weights[:, [place_of[who] for who, _ in live]]
    right = weights[:, [place_of[who] for who, _ in fake]]
    drawn = ratio(((left @ wins) * right).sum(axis=1), left.sum(axis=1) * right.sum(axis=1))
    auc = float(wins.mean())
    low, high = percentiles(drawn, auc)
    if auc == 1.0:
        low = min(low, 1 - zero_errors_bound(min(len({who for who, _ in live}), len({who for who, _ in fake}))))
    return auc, (low, high)


def _wins(live: npt.NDArray[np.float64], fake: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(live, fake): 1 where the bona fide score is higher, a half where they are equal."""
    return np.asarray((live[:, None] > fake) + 0.5 * (live[:, None] == fake), np.float64)


def _who(sighting: Sighting, place: int) -> str:
    """The identity where the index names it; else each picture is somebody else."""
    return sighting.labels.get("identity") or f"picture {place}"
