"""`facepay evaluate protection`: how far a thief can link two galleries that are protected under two keys."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli import console
from pipeline.cli.console import JsonFlag
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from pipeline.ports import Vector

_MATED_COSINE = 0.82
"""Mean cosine of two pictures of one person, as measured on real faces (`facepay evaluate recognition`)."""


def protection(
    images: Annotated[Path | None, typer.Option(help="Folder of real pictures; default: drawn vectors only.")] = None,
    index: Annotated[Path | None, typer.Option(help="CSV: file, identity.")] = None,
    models: Annotated[
        Path | None, typer.Option(help="Folder of ONNX files; default: the setting vision.models.")
    ] = None,
    people: Annotated[int, typer.Option(min=50, help="Drawn people.")] = 500,
    dimension: Annotated[int, typer.Option(min=16, help="Length of drawn embeddings.")] = 128,
    runs: Annotated[int, typer.Option(min=2, help="Runs of each row, each with keys of its own.")] = 10,
    json: JsonFlag = False,
) -> None:
    """Linkage of two galleries under two keys with 0, 16 and d known pairs (Gram matching, Procrustes), and by nothing
    but nearness. `one key alone` is what revocation rests on; the other rows are what it is not."""
    from pipeline.gallery.protect.linkage import attack, drawn, spread

    started = time.perf_counter()
    data: list[tuple[str, Vector, Vector]] = []
    for name, cosine in (("the same templates", 1.0), ("other pictures", _MATED_COSINE)):
        data.append((f"drawn, {name}", *drawn(people, dimension, cosine, seed=1)))
    if images is not None and index is not None:
        data.extend(_real(images, index, models))
    rows = []
    for name, one, other in data:
        known: tuple[int | None, ...] = (None, 0, 16, one.shape[1])
        for pairs in known:
            if pairs is not None and pairs > len(one) - 2:
                continue
            found = [attack(one, other, pairs, seed) for seed in range(runs)]
            rate, low, high = spread(found)
            rows.append(
                {
                    "data": name,
                    "people": len(one),
                    "dimension": one.shape[1],
                    "known_pairs": "one key alone" if pairs is None else pairs,
                    "asked": found[0].asked,
                    "linked": rate,
                    "interval": [low, high],
                    "by_chance": 1 / len(one),
                }
            )
            console.note(f"{name}, {rows[-1]['known_pairs']}: {rate:.4f}")

    def show() -> None:
        from rich.table import Table

        table = Table("galleries", "people", "known pairs", "linked", "95 %", "by chance")
        for row in rows:
            low, high = row["interval"]
            table.add_row(
                str(row["data"]), str(row["people"]), str(row["known_pairs"]), f"{row['linked']:.4f}",
                f"{low:.4f} to {high:.4f}", f"{row['by_chance']:.4f}",
            )  # fmt: skip
        console.show_table(table)

    result = {"rows": rows, "runs": runs, "seconds": round(time.perf_counter() - started, 1)}
    console.finish(result, as_json=json, show=show)


def _real(images: Path, index: Path, models: Path | None) -> list[tuple[str, Vector, Vector]]:
    """Of real people: the same templates twice (one each), and two pictures of those who have two."""
    import numpy as np

    from pipeline.evaluate.sightings import look, placed, read_index
    from pipeline.vision.engine import OnnxEngine
    from pipeline.vision.sessions import Execution

    settings = console.settings()
    engine = OnnxEngine.open(models or settings.vision.models, Execution(gpu=settings.vision.gpu))
    table = read_index(index, "identity")
    by_person: dict[str, list[Vector]] = {}
    for sighting in look(engine, placed(table, images, index), table):
        if sighting.face is not None:
            by_person.setdefault(sighting.labels["identity"], []).append(sighting.face.embedding)
    everybody = np.stack([vectors[0] for vectors in by_person.values()])
    twice = [vectors for vectors in by_person.values() if len(vectors) > 1]
    if len(everybody) < 50 or len(twice) < 20:
        raise UsageError(
            f"evaluating protection: {index} names {len(everybody)} people with a face and {len(twice)} with two "
            "pictures; at least 50 and 20 are needed"
        )
    one, other = (np.stack([vectors[n] for vectors in twice]) for n in (0, 1))
    return [("real, the same templates", everybody, everybody), ("real, other pictures", one, other)]
