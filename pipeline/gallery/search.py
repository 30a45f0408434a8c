"""The search that an embedding agent sees: clear embeddings in, the answer of the whole gallery out.

Probes are turned into the protected space of the process once. A probe that comes with a claim is compared with the
claimed payers alone. Of the others, those answer from the hot tier whose answer may stand for the exact one; the rest
go through the exact index in one batch. `Match.searched` says which of the two it was.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from pipeline import metrics
from pipeline.gallery.hot.gallery import Gallery
from pipeline.ports import Match, Vector


class Space(Protocol):
    """The protected space of a process (`protect.transform.Transform`)."""

    def apply(self, vectors: Vector) -> Vector:
        """Clear vectors float32 (n, d), turned into it."""
        ...


class Whole(Gallery, Protocol):
    """The exact index."""

    @property
    def size(self) -> int:
        """Templates in it."""
        ...

    @property
    def payers(self) -> int:
        """Payers in it."""
        ...

    def size_of(self, payer_ids: Collection[str]) -> int:
        """Templates of these payers."""
        ...


class Hot(Protocol):
    """The hot tier (`hot.HotTier`)."""

    def search(self, probes: Vector) -> Sequence[Match | None]:
        """The answers that stand, None for the others."""
        ...

    def offer(self, payer_id: str) -> None:
        """A payer was recognised."""
        ...


class TieredSearch:
    """`ports.GallerySearch`. `index` is the whole gallery in the protected `space`, `hot` None where there is no hot
    tier; `ready` tells whether the gallery was read to its end."""

    def __init__(self, index: Whole, space: Space, hot: Hot | None, *, ready: Callable[[], bool]) -> None:
        self._index = index
        self._space = space
        self._hot = hot
        self._ready = ready

    @property
    def size(self) -> int:
        """Number of templates searched."""
        return self._index.size

    @property
    def payers(self) -> int:
        """Number of payers searched."""
        return self._index.payers

    @property
    def ready(self) -> bool:
        """Whether the gallery was read up to its end once."""
        return self._ready()

    def size_of(self, payer_ids: Collection[str]) -> int:
        """Number of templates of these payers."""
        return self._index.size_of(payer_ids)

    def offer(self, payer_id: str) -> None:
        """Tells that this payer was recognised just now; never blocks."""
        if self._hot is not None:
            self._hot.offer(payer_id)

    def search(self, probes: Vector, among: Sequence[Collection[str] | None] | None = None) -> Sequence[Match | None]:
        """The best payer for each of `probes`, clear float32 (n, d), among everybody or, where `among` has payers for
        it, among those; None when there is nobody to compare with. Raises `ValueError` for another shape."""
        if among is not None and len(among) != len(probes):
            raise ValueError(f"{len(among)} sets of claimed payers came with {len(probes)} probes")
        with metrics.STAGE.labels("search_rotate").time():
            turned = self._space.apply(probes)
        answers: list[Match | None] = [None] * len(probes)
        free = [row for row in range(len(probes)) if among is None or among[row] is None]
        with metrics.STAGE.labels("search_claimed").time():
            for row, claimed in enumerate(among or ()):
                if claimed is not None:
                    answers[row] = self._index.search_payers(turned[row], claimed)
        if free and self._hot is not None:
            with metrics.STAGE.labels("search_hot").time():
                for row, hot in zip(free, self._hot.search(turned[free]), strict=True):
                    answers[row] = hot
            free = [row for row in free if answers[row] is None]
        if free:
            with metrics.STAGE.labels("search_exact").time():
                for row, exact in zip(free, self._index.search(turned[free]), strict=True):
                    answers[row] = exact
        return answers
