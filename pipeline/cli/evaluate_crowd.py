"""`facepay evaluate crowd`: searching a city of people who do not exist, as it grows."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli import console, evaluate_tables
from pipeline.cli.console import JsonFlag
from pipeline.cli.evaluate import Calibration, rule_of, written
from pipeline.errors import UsageError

DATA = (
    "Pictures at a counter of {mated} drawn people against the portraits of {enrolled}; no model was trained on any of "
    "them."
)


def crowd(
    people: Annotated[int, typer.Option(min=100, help="Enrolled people, one picture each.")] = 1000,
    probes: Annotated[
        int, typer.Option(min=50, help="Of them who come to a counter, and as many strangers, two pictures each.")
    ] = 500,
    work: Annotated[Path, typer.Option(help="Folder of what is drawn: a run that is cut off goes on.")] = Path(
        "build/crowd"
    ),
    workers: Annotated[int, typer.Option(min=0, help="Processes that draw; 0: figures of what is drawn so far.")] = 1,
    calibration: Calibration = None,
    chart: Annotated[
        Path | None, typer.Option(help="Draw FPIR and FNIR against the gallery into this SVG file.")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """FPIR and FNIR of searching galleries of drawn people, up to 100,000 and beyond, at the thresholds in force.

    A person costs about 30 ms of a core: a thousand are drawn in a minute, a hundred thousand in an hour."""
    from loadtests.people.train.crowd import crowd as drawn
    from pipeline.evaluate import crowd as city
    from pipeline.evaluate.chart import identification
    from pipeline.evaluate.in_force import limits
    from pipeline.evaluate.intervals import LEVEL
    from pipeline.vision.thresholds import as_toml, known_fmr, known_thresholds

    started = time.perf_counter()
    seen = drawn(work, people, probes, workers=workers)
    if len(seen.enrolled) < 2 * len(seen.owner) / 3 or not len(seen.owner) or not len(seen.strangers):
        raise UsageError(
            f"searching drawn people: {len(seen.enrolled)} enrolled ones, {len(seen.owner)} of them and "
            f"{len(seen.strangers)} strangers at the counter are drawn; draw more (--workers 1)"
        )
    scores = city.compare(seen)
    measured = city.calibrated(scores, DATA.format(mated=len(seen.owner), enrolled=len(seen.enrolled)))
    shipped = known_fmr(seen.embedder)
    rule = rule_of(shipped or measured, known_thresholds(seen.embedder))
    found = city.rates(scores, rule, scores.sizes(), rising=True)
    flat = city.rates(scores, rule, scores.sizes(), rising=False)
    if calibration is not None:
        written(calibration, as_toml("drawn_embedder", seen.embedder, measured))
    result = {
        "identification": [asdict(row) for row in found],
        "identification_at_match": [asdict(row) for row in flat],
        "limits": limits(rule),
        "false_matches": asdict(rule.model),
        "false_matches_measured": asdict(measured),
        "enrolled": len(seen.enrolled),
        "probes_enrolled": seen.mated.shape[0] * seen.mated.shape[1],
        "probes_not_enrolled": seen.strangers.shape[0] * seen.strangers.shape[1],
        "lost": seen.lost,
        "interval": {"level": LEVEL},
        "model_sha256": seen.embedder,
        "seconds": round(time.perf_counter() - started, 2),
    }
    if chart is not None:
        written(chart, identification(found, flat, f"{len(seen.enrolled):,} drawn people"))

    def show() -> None:
        rows = (("thresholds in force, one template a person:", found), ("at the manifest's match threshold:", flat))
        for title, some in rows:
            evaluate_tables.in_force([asdict(row) for row in some], limits(rule), title)

    console.finish(result, as_json=json, show=show)
