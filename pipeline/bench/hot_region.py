"""What `hot_replay` replays on: the city's gallery, and a region's agents as far as they search, on a real Redis."""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np

from pipeline.bench.commuters import STRANGER, Region, Whole
from pipeline.bench.population import Population
from pipeline.errors import OutsideError
from pipeline.gallery.hot.eraser import HotEraser
from pipeline.gallery.hot.layout import EntrySeal, Space
from pipeline.gallery.hot.standing import Rule
from pipeline.gallery.hot.store import HotStore
from pipeline.gallery.hot.tier import HotTier
from pipeline.gallery.index import ExactIndex
from pipeline.gallery.protect.transform import Transform
from pipeline.gallery.search import TieredSearch
from pipeline.keys.keyring import Keyring
from pipeline.ports import Vector
from pipeline.settings import Hot, Redis

MODEL = "0" * 64
LIKENESS = (0.5, 0.9)
"""Cosine of an unflagged lookalike, who comes as a newcomer, to a regular."""
_TIMEOUT_MS = 2_000
"""A budget that a busy machine keeps: what is measured is not how often it is missed."""
_WAIT_S = 120.0
_LOOK_S = 0.001


class Template(NamedTuple):
    """What the gallery's reader tells the tier of a template; `vector` in protected space."""

    payer_id: str
    vector: Vector


class City:
    """Everybody's looks, and the gallery in the protected `space`. Payer k has the id `pK`."""

    def __init__(self, region: Region, space: Transform, *, templates: int, seed: int) -> None:
        self.people = Population((seed, 1), noise="fitted")
        self.space = space
        self.index = ExactIndex(self.people.dimension)
        self._templates = templates
        newcomers = region.newcomers * region.days
        self._looks = self.people.identities(region.payers + newcomers)
        like = self.people.draw.integers(region.regulars, size=newcomers)[::2]
        cosines = self.people.draw.uniform(*LIKENESS, len(like)).astype(np.float32)
        self._looks[region.payers :: 2] = self.people.lookalikes(self._looks[like], cosines)
        self.enrol(np.arange(region.payers))

    def enrol(self, payers: Whole) -> list[Template]:
        """Puts pictures of each into the gallery; what was put."""
        put: list[Template] = []
        ids = [payer_id(payer) for payer in payers]
        for number in range(self._templates):
            vectors = self.space.apply(self.people.pictures(self._looks[payers]))
            self.index.put_many([f"{each}-{number}" for each in ids], ids, vectors)
            put += map(Template, ids, vectors)
        return put

    def pictures(self, payers: Whole) -> Vector:
        """A fresh picture of each, in clear; of somebody nobody knows for `STRANGER`."""
        looks = self._looks[payers]
        unknown = payers == STRANGER
        looks[unknown] = self.people.identities(int(unknown.sum()))
        return self.people.pictures(looks)


class Agents:
    """The hot tiers and searches of a region on the Redis at `url`."""

    def __init__(self, city: City, keyring: Keyring, url: str, *, count: int, margin: float) -> None:
        self._city = city
        hot = Hot()
        space = Space(hot.region, MODEL, city.space.version)
        self._eraser = HotEraser(Redis(url=url), hot, keyring, model_sha256=MODEL)
        self._tiers = [
            HotTier(
                city.index,
                HotStore(url, space, timeout_ms=_TIMEOUT_MS, max_payers=hot.max_payers, max_age_s=hot.max_age_s),
                EntrySeal(keyring, space),
                Rule(margin=margin),
                ready=lambda: True,
                verify_share=hot.verify_share,
                # Two passes of one payer are more than the usual minute apart in the model, and less here.
                refresh_s=0.0,
            )
            for _ in range(count)
        ]
        self.searches = [TieredSearch(city.index, city.space, tier, ready=lambda: True) for tier in self._tiers]

    def start(self) -> None:
        """Begins to follow and to write."""
        for tier in self._tiers:
            tier.start()

    def stop(self) -> None:
        """Ends all threads."""
        for tier in self._tiers:
            tier.stop()

    @property
    def suspended(self) -> bool:
        """Whether a tier has found an answer of its own wrong."""
        return any(tier.suspended for tier in self._tiers)

    def enrolled(self, templates: list[Template]) -> None:
        """Tells every agent's tier, as its reader of the gallery does."""
        for tier in self._tiers:
            for template in templates:
                tier.put(template)

    def erase(self, payer: str) -> None:
        """Takes a payer out of the gallery, every agent and Redis."""
        names = [template_id for template_id, _ in self._city.index.templates_of(payer)]
        self._city.index.remove_payer(payer)
        for tier in self._tiers:
            for template_id in names:
                tier.removed(template_id, payer)
        self._eraser.erase(payer)

    def settle(self, offered: set[str]) -> float:
        """Waits until every agent mirrors all of `offered` and has counted everybody's neighbours; the seconds that
        it took. Raises `OutsideError` when it takes too long."""
        began = time.perf_counter()
        while not all(_settled(tier, offered) for tier in self._tiers):
            if time.perf_counter() - began > _WAIT_S:
                raise OutsideError(
                    f"replaying commuters: after {_WAIT_S:.0f} s the hot tier has not taken in what half an hour"
                    " brought; run it where less else runs"
                )
            time.sleep(_LOOK_S)
        return time.perf_counter() - began

    @property
    def hot(self) -> int:
        """Payers whom the first agent mirrors."""
        return self._tiers[0].mirror.payers


def payer_id(payer: int) -> str:
    """Of a payer's number."""
    return f"p{payer}"


def _settled(tier: HotTier, offered: set[str]) -> bool:
    return (
        tier.idle
        and all(tier.mirror.template_ids(each) for each in offered)
        and tier.neighbours.settled
        and tier.neighbours.known == tier.mirror.size
    )
