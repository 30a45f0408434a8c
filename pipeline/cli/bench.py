"""`facepay bench`: every benchmark against a baseline in the same run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from pipeline.bench.cases import Case, Needs, Report
from pipeline.bench.rounds import ROUNDS
from pipeline.cli import console
from pipeline.cli.console import JsonFlag

if TYPE_CHECKING:
    from pipeline.bench.rows import Row

CHECKOUT = Path(__file__).resolve().parents[2]


def bench(
    case: Annotated[
        Case | None, typer.Argument(help="What to measure; without it, all that can run here.", show_default=False)
    ] = None,
    rounds: Annotated[int, typer.Option(min=ROUNDS, max=1_000, help="Samples of ours and of the baseline.")] = ROUNDS,
    models: Annotated[
        Path | None, typer.Option(help="Folder of ONNX models; default: ../shared/models beside the checkout.")
    ] = None,
    people: Annotated[
        Path | None, typer.Option(help="Folder of portraits; default: ../shared/faces/congress beside the checkout.")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Measure ours and a baseline in turns (A B A B ...) and compare them round by round. Only ratios of one run mean
    anything. Exit 1 when a result is void because an invariant was broken; a missed goal is no failure."""
    from pipeline.bench.cases import beside, run
    from pipeline.bench.own_process import quiet_logs

    found_models, found_people = beside(CHECKOUT)
    needs = Needs(models=models or found_models, people=people or found_people, rounds=rounds)
    quiet_logs()
    report = run(case, needs, console.note)
    console.finish(report.as_json(), as_json=json, show=lambda: _show(report), ok=not report.void)


def _show(report: Report) -> None:
    for name, value in report.machine.items():
        console.note(f"{name}: {value}")
    table = Table("case", "unit", "ours", "baseline", "ratio", "spread", "goal", "")
    for row in report.rows:
        table.add_row(*_cells(row))
    console.show_table(table)
    if report.stages:
        stages = Table("case", "stage", "ours, wall us per frame", "model alone")
        for stage in report.as_json()["stages"]:  # type: ignore[attr-defined]
            bare = stage["bare_wall_us_per_frame"]
            ours = stage["ours_wall_us_per_frame"]
            stages.add_row(stage["case"], stage["stage"], f"{ours:.0f}", "" if bare is None else f"{bare:.0f}")
        console.show_table(stages)
    for row in report.rows:
        for why in row.void:
            console.out.print(f"[red]VOID[/red] {row.case}: {why}", highlight=False)
    for name, why in report.skipped.items():
        console.out.print(f"[yellow]SKIPPED[/yellow] {name}: {why}", highlight=False, soft_wrap=True)


def _cells(row: Row) -> tuple[str, ...]:
    ratio = None if row.void else row.ratio
    marks = {None: "", True: "[green]met[/green]", False: "[yellow]missed[/yellow]"}
    return (
        row.case,
        row.unit,
        f"{row.ours:.4g}",
        "" if row.baseline is None else f"{row.baseline:.4g}",
        "[red]void[/red]" if row.void else "" if ratio is None else f"{ratio.median:.3f}",
        "" if ratio is None else f"{ratio.low:.3f} to {ratio.high:.3f}",
        "" if row.goal is None else str(row.goal),
        marks[row.met],
    )
