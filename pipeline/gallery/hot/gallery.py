"""What the hot tier asks of the exact index of its process (`pipeline.gallery.index.ExactIndex`)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Protocol

from pipeline.gallery.index import Arrays
from pipeline.ports import Match, Vector


class Gallery(Protocol):
    """Every enrolled template, in protected space; safe for several threads."""

    @property
    def dimension(self) -> int:
        """Length of an embedding."""
        ...

    @property
    def size(self) -> int:
        """Templates in it."""
        ...

    def search(self, probes: Vector) -> Sequence[Match | None]:
        """The best payer and the best other payer for each of `probes`, float32 (n, d)."""
        ...

    def search_payers(self, probe: Vector, payer_ids: Collection[str]) -> Match | None:
        """The same for one probe, float32 (d,), among the templates of `payer_ids`; None if there are none."""
        ...

    def templates_of(self, payer_id: str) -> tuple[tuple[str, Vector], ...]:
        """Ids and vectors, float32 (d,), of a payer's templates."""
        ...

    def dump_parts(self) -> Iterator[Arrays]:
        """All templates of one moment, in parts."""
        ...
