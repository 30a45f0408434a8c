"""A region of a city over days: who stands before a camera, and when. The model that the hot tier is replayed with.

The gallery is the whole city's; the region is one line with its shops. What is assumed, all of it in `Region`:

- *Regulars* live or work in the region. On a weekday most of them commute: one pass in the morning at the home station
  around 8:00, one in the evening at the work station around 18:00, half of them with either end outside the region, so
  that only one of the two passes is seen here. On a day off few travel, at any hour of service. Some passes bring
  a purchase at a shop within the half hour after it.
- *Visitors* are anybody else of the gallery, each as likely as the other: a share of all passes, at any hour of
  service. Most come once and never again within the replay.
- *Strangers* are enrolled nowhere and look like nobody in particular: a share of all passes as well.
- *Newcomers* are enrolled at midnight and pass once a day from then on, at any hour.

A pass is one search: one frame of one face. Days start on a Monday; day 0 finds an empty cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Whole = npt.NDArray[np.int64]

STRANGER = -1
DAY_US = 86_400_000_000
_HOUR_US = 3_600_000_000
_WEEKDAYS = 5
SERVICE_HOURS = (6.0, 23.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """The model's numbers; shares are of all passes of a day, chances are per person and day."""

    payers: int = 100_000
    """Of the whole city: everybody in the gallery."""
    regulars: int = 2_500
    stations: int = 12
    days: int = 8
    commutes: float = 0.85
    travels_on_day_off: float = 0.2
    both_ends_here: float = 0.5
    purchases: float = 0.25
    """Per pass."""
    visitors: float = 0.08
    strangers: float = 0.02
    newcomers: int = 20
    """Per day."""


@dataclass(frozen=True, slots=True)
class Day:
    """The passes of one day in the order of time, all arrays (n,): `at_us` since the first midnight; `payer`, those
    below `Region.regulars` being regulars, those from `Region.payers` on newcomers, or `STRANGER`; `station`."""

    number: int
    at_us: Whole
    payer: Whole
    station: Whole

    def __len__(self) -> int:
        return len(self.at_us)


def days(region: Region, seed: int = 1) -> Iterator[Day]:
    """Day after day."""
    draw = np.random.default_rng(seed)
    home = draw.integers(region.stations, size=region.regulars)
    work = draw.integers(region.stations, size=region.regulars)
    # Who has one end of the way elsewhere is seen here in the morning or in the evening only.
    both = draw.random(region.regulars) < region.both_ends_here
    morning = both | (draw.random(region.regulars) < 0.5)
    evening = both | ~morning
    for number in range(region.days):
        if number % 7 < _WEEKDAYS:
            out = draw.random(region.regulars) < region.commutes
            rows = [_around(draw, out & morning, home, 8.0, 0.75), _around(draw, out & evening, work, 18.0, 1.0)]
        else:
            out = draw.random(region.regulars) < region.travels_on_day_off
            rows = [_between(draw, np.flatnonzero(out), home) for _ in ("there", "back")]
        regular = np.concatenate(rows, axis=1)
        buys = regular[:, draw.random(regular.shape[1]) < region.purchases]
        after = draw.integers(_HOUR_US // 2, size=buys.shape[1])
        rows = [regular, buys + np.stack([after, np.zeros_like(after), np.zeros_like(after)])]
        new = np.arange(region.payers, region.payers + (number + 1) * region.newcomers)
        rows += [_between(draw, new, draw.integers(region.stations, size=region.payers + len(new)))]
        passes = np.concatenate([*rows, *_others(draw, region, regular.shape[1] + buys.shape[1])], axis=1)
        at_us, payer, station = passes[:, np.argsort(passes[0], kind="stable")]
        yield Day(number, number * DAY_US + at_us, payer, station)


def _others(draw: np.random.Generator, region: Region, regular: int) -> list[Whole]:
    """Visitors and strangers of a day with `regular` passes of regulars; their shares are of all passes."""
    every = regular / (1.0 - region.visitors - region.strangers)
    visitors = draw.integers(region.regulars, region.payers, size=round(every * region.visitors))
    strangers = np.full(round(every * region.strangers), STRANGER)
    anywhere = draw.integers(region.stations, size=region.payers)
    return [_between(draw, visitors, anywhere), _between(draw, strangers, anywhere)]


def _around(draw: np.random.Generator, who: npt.NDArray[np.bool_], station: Whole, hour: float, sd: float) -> Whole:
    """Passes (3, n) at a rush hour: microseconds of the day, payers, stations."""
    payers = np.flatnonzero(who)
    hours = np.clip(draw.normal(hour, sd, len(payers)), 5.0, 23.0)
    return np.stack([(hours * _HOUR_US).astype(np.int64), payers, station[payers]])


def _between(draw: np.random.Generator, payers: Whole, station: Whole) -> Whole:
    """Passes at any hour of the service day."""
    hours = draw.uniform(*SERVICE_HOURS, len(payers))
    return np.stack([(hours * _HOUR_US).astype(np.int64), payers, station[payers]])
