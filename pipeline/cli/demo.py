"""`facepay demo`: the whole story on one machine, then a full audit and a report."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli import console
from pipeline.cli.console import JsonFlag
from pipeline.errors import FacepayError

if TYPE_CHECKING:
    from loadtests.demo.story import Story


FACES_ALONE = 10
"""With `--digits`: among how many templates a face alone decides; more people are enrolled before the first visit."""


def demo(
    seconds: Annotated[int, typer.Option(min=3, max=3_600, help="How long people come to the terminals.")] = 60,
    terminals: Annotated[int, typer.Option(min=1, max=64, help="How many terminals there are.")] = 8,
    models: Annotated[
        Path | None, typer.Option(help="Folder of ONNX models; default: those that ship with the drawn people.")
    ] = None,
    people: Annotated[
        Path | None, typer.Option(help="Folder of portraits; default: people who are drawn and do not exist.")
    ] = None,
    chaos: Annotated[bool, typer.Option("--chaos/--no-chaos", help="Kill an agent while people pay.")] = True,
    digits: Annotated[
        bool,
        typer.Option("--digits", help="Ask for digits of telephones, as where too many are enrolled for faces alone."),
    ] = False,
    keep: Annotated[
        Path | None, typer.Option(help="Keep keys, ledger, topics and logs in this new folder.", metavar="DIR")
    ] = None,
    report: Annotated[Path, typer.Option(help="Where the HTML report goes.", metavar="FILE")] = Path(
        "facepay-report.html"
    ),
    seed: Annotated[int, typer.Option(help="Who comes when, and which agent is killed.")] = 1,
    json: JsonFlag = False,
) -> None:
    """Real Kafka, real Redis, people who do not exist: they pay while an agent is killed; then every invariant is
    checked. Exit 1 when one is broken, somebody else was charged, or anything was lost or doubled."""
    from loadtests.demo.options import Options, resolve
    from loadtests.demo.story import folder_of, remove, tell
    from loadtests.report.page import write
    from pipeline.cli.demo_backstage import CommandLineBackstage, fpir_for, now_us

    found_models, found_people = resolve(models, people)
    options = Options(
        models=found_models,
        people=found_people,
        report=report,
        seconds=seconds,
        terminals=terminals,
        chaos=chaos,
        keep=keep,
        seed=seed,
        max_fpir=fpir_for(found_models, FACES_ALONE, drawn=found_people is None) if digits else None,
    )
    # A supervisor's SIGTERM ends the demo as Ctrl-C does: children first, then the folder.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    folder = folder_of(options)
    backstage = CommandLineBackstage(found_models, folder, drawn=options.drawn)
    try:
        story = tell(options, backstage, folder, console.err, now_us)
        path = write(story, backstage)
    except KeyboardInterrupt:
        console.note("The demo was stopped.")
        remove(options, folder)
        raise
    except FacepayError:
        console.note(f"The logs of what failed are kept in {folder}.")
        raise
    finally:
        backstage.close()
    if story.ok:
        remove(options, folder)
    else:
        console.note(f"Keys, ledger, topics and logs are kept in {folder}, because not every promise held.")
    result = as_json(story, path)
    console.finish(result, as_json=json, show=lambda: _show(story, result), ok=story.ok)


def as_json(story: Story, report: Path) -> dict[str, Any]:
    """The demo's answer, as `--json` prints it."""
    figures, outcomes = story.figures, story.figures.outcomes
    return {
        "intents": figures.intents,
        **{name: outcomes.get(name, 0) for name in ("settled", "declined", "expired", "cancelled")},
        "stepped_up": figures.stepped_up,
        "refunded": figures.refunded,
        "superseded": sum(len(visit.superseded) for visit in story.visits),
        "frames": story.frames,
        "wrong_payer": figures.wrong_payer,
        "duplicates": figures.duplicates,
        "lost": figures.lost,
        "strangers": figures.strangers,
        "strangers_charged": figures.strangers_charged,
        "thefts": figures.thefts,
        "thefts_charged": figures.thefts_charged,
        "p50_ms": figures.p50_ms,
        "p99_ms": figures.p99_ms,
        "p99_undisturbed_ms": figures.p99_undisturbed_ms,
        "from_open_p50_ms": figures.from_open_p50_ms,
        "from_open_p99_ms": figures.from_open_p99_ms,
        "settlements_per_s": figures.settlements_per_s,
        "audit": story.broken or "ok",
        "startup_s": round(story.startup_s, 2),
        "first_settlement_s": None if story.first_settlement_s is None else round(story.first_settlement_s, 2),
        "terminals": story.options.terminals,
        "drawn": story.options.drawn,
        "killed": [f"{each.name}: {each.why}" for each in story.outages],
        "report": str(report),
    }


def _show(story: Story, result: dict[str, Any]) -> None:
    from pipeline.audit.invariants import TITLES

    figures = story.figures
    outcomes = ", ".join(f"{result[name]} {name}" for name in ("settled", "declined", "expired", "cancelled"))
    strangers = f"{figures.strangers} visits of strangers, {figures.strangers_charged} charged"
    calm = f", undisturbed p99 {_ms(figures.p99_undisturbed_ms)}" if story.disturbances else ""
    _line("payments", f"{figures.intents} intents over {result['terminals']} terminals: {outcomes}")
    _line("besides", f"{figures.stepped_up} stepped up to a PIN, {figures.refunded} refunds, {story.frames} frames")
    _line("right person", f"{figures.wrong_payer} charged wrongly; {strangers}", good=not figures.wrong_payer)
    if story.options.drawn:
        what = "pictures held up or worn, and sleeping people used"
        _line("thefts", f"{figures.thefts} {what}, {figures.thefts_charged} charged", good=not figures.thefts_charged)
    lost = figures.duplicates or figures.lost
    _line("exactly once", f"{figures.duplicates} duplicates, {figures.lost} lost", good=not lost)
    _line("face to settlement", f"p50 {_ms(figures.p50_ms)}, p99 {_ms(figures.p99_ms)}{calm}")
    _line("settlements", f"{figures.settlements_per_s:.1f} a second")
    for each in story.disturbances:
        _line("disturbance", f"{each.agent} was away for {(each.until_us - each.from_us) / 1e6:.1f} s")
    for name, finding in story.findings.items():
        verdict = f"BROKEN, {len(finding.violations)} violations" if finding.violations else "holds"
        text = f"{verdict}: {TITLES[name]} ({finding.checked} checked)"
        _line(f"audit {name}", text, good=not finding.violations)
    _line("report", result["report"])


def _line(name: str, text: str, *, good: bool | None = None) -> None:
    style = None if good is None else "green" if good else "bold red"
    console.out.print(f"{name:<20}{text}", style=style, highlight=False, markup=False, soft_wrap=True)


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} ms"
