"""The report of a demo: one HTML file with everything in it, light, and readable without a network.

A script in the page filters the table of payments; all else is there without it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path

from loadtests.demo.backstage import Backstage
from loadtests.demo.statistics import percentile
from loadtests.demo.story import Story
from loadtests.report import charts, pictures, tables
from loadtests.report.charts import COLOURS, Band, Bar, Point
from loadtests.report.markup import Markup, el
from loadtests.report.payments import Payment, payments
from pipeline.audit.invariants import TITLES
from pipeline.audit.timeline import STAGES, stages_ms
from pipeline.errors import OutsideError

MIN_FACE_PX = 48.0


def write(story: Story, backstage: Backstage) -> Path:
    """Writes the report to `story.options.report`; returns its absolute path. Raises `OutsideError`."""
    path = story.options.report.absolute()
    found = payments(story)
    shots = pictures.section(pictures.choose(found), backstage, MIN_FACE_PX)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(render(story, found, shots), encoding="utf-8")
    except OSError as error:
        raise OutsideError(f"writing the report {path}: {error.strerror}; name another file with --report") from None
    return path


def render(story: Story, found: Sequence[Payment], shots: Markup) -> str:
    """The whole page."""
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("title", "facepay demo"),
        el("style", Markup(_asset("page.css"))),
    )
    body = el(
        "body",
        _header(story),
        _figures(story),
        _section("Payments over time", _lanes_text(story), _legend(), _lanes(story, found)),
        _section("From face to settlement", _LATENCY_TEXT, _latencies(story, found)),
        _section("How long each stage takes", _STAGES_TEXT, _stages(found)),
        _section("What the system saw and decided", _PICTURES_TEXT, shots),
        _section("Hints and reasons", _HINTS_TEXT, _hints(story)),
        _section("Audit", _AUDIT_TEXT, tables.audit(story.findings, TITLES)),
        _section("Each payment", _TABLE_TEXT, tables.payments(found)),
        el("footer", "Drawn by facepay demo; this file loads nothing from anywhere."),
        el("script", Markup(_asset("page.js"))),
    )
    return "<!doctype html>\n" + el("html", head, body, lang="en")


_LATENCY_TEXT = (
    "Each dot is a settled payment: from the first frame in which one person stood close enough, to the moment the "
    "terminal knew. The time at the PIN pad is the person's and is left out."
)
_STAGES_TEXT = (
    "From the times that the events themselves carry; logarithmic axes. The line marks the median, the dashed one the "
    "99th percentile."
)
_PICTURES_TEXT = (
    "Frames as the cameras sent them, with the faces that the detector finds in them: solid where a face is large "
    "enough to be judged, dashed where it is not. The small picture is that of the enrolment."
)
_HINTS_TEXT = "What people were asked to do, and why verdicts and outcomes were what they were."
_AUDIT_TEXT = "The topics and the ledger, read again from the beginning after everything had stopped."
_TABLE_TEXT = "Open a row for its timeline: what the terminal saw and what each agent wrote, by their own clocks."


def _asset(name: str) -> str:
    return resources.files("loadtests.report").joinpath(name).read_text(encoding="utf-8")


def _section(title: str, text: str, *content: object) -> Markup:
    return el("section", el("h2", title), el("p", text, class_="lead"), *content)


def _header(story: Story) -> Markup:
    figures = story.figures
    wrong = [
        f"invariants {', '.join(story.broken)} are broken" if story.broken else "",
        f"{figures.wrong_payer} payments charged the wrong person" if figures.wrong_payer else "",
        f"{figures.duplicates} records are doubled" if figures.duplicates else "",
        f"{figures.lost} payments are lost" if figures.lost else "",
    ]
    said = "; ".join(each for each in wrong if each)
    verdict = (
        f"Not every promise held: {said}."
        if said
        else ("Every promise held: the right person was charged, each payment once, none lost, and the audit is clean.")
    )
    at = datetime.fromtimestamp(story.started_at_us / 1e6, UTC).strftime("%d %B %Y, %H:%M UTC")
    return el(
        "header",
        el("h1", "facepay demo"),
        el("p", f"{at}, {story.options.seconds} s of payments at {story.options.terminals} terminals", class_="when"),
        el("p", verdict, class_="verdict bad" if said else "verdict good"),
        el("ul", (el("li", note) for note in story.notes), class_="notes"),
    )


def _figures(story: Story) -> Markup:
    figures, outcomes = story.figures, story.figures.outcomes
    undisturbed = [("p99 undisturbed", _ms(figures.p99_undisturbed_ms))] if story.disturbances else []
    tiles: list[tuple[str, str]] = [
        ("intents", str(figures.intents)),
        *((name, str(outcomes.get(name, 0))) for name in ("settled", "declined", "cancelled", "expired")),
        ("stepped up to a PIN", str(figures.stepped_up)),
        ("refunds", str(figures.refunded)),
        ("charged wrongly", str(figures.wrong_payer)),
        ("strangers charged", f"{figures.strangers_charged} of {figures.strangers}"),
        *([("thefts charged", f"{figures.thefts_charged} of {figures.thefts}")] if story.options.drawn else []),
        ("duplicates", str(figures.duplicates)),
        ("lost", str(figures.lost)),
        ("p50 face to settlement", _ms(figures.p50_ms)),
        ("p99", _ms(figures.p99_ms)),
        *undisturbed,
        ("p50 from open", _ms(figures.from_open_p50_ms)),
        ("settlements a second", f"{figures.settlements_per_s:.1f}"),
        ("frames", str(story.frames)),
        ("ready after", f"{story.startup_s:.1f} s"),
    ]
    return el(
        "div",
        (
            el("div", el("span", value, class_="value"), el("span", name, class_="name"), class_="tile")
            for name, value in tiles
        ),
        class_="tiles",
    )


def _lanes_text(story: Story) -> str:
    away = [
        f"the {each.agent} agent was away for {(each.until_us - each.from_us) / 1e6:.1f} s"
        for each in story.disturbances
    ]
    if not away:
        return "Each bar is a payment, from its opening to the moment the terminal knew the outcome."
    return (
        "Each bar is a payment, from its opening to the moment the terminal knew the outcome. "
        f"Meanwhile {'; '.join(away)}: payments wait."
    )


def _legend() -> Markup:
    marks = (el("span", el("i", style=f"background:{colour}"), name) for name, colour in COLOURS.items())
    return el("p", marks, class_="legend")


def _bands(story: Story) -> list[Band]:
    start_us = story.started_at_us
    return [
        Band((d.from_us - start_us) / 1e6, (d.until_us - start_us) / 1e6, f"{d.agent} down") for d in story.disturbances
    ]


def _end_s(found: Sequence[Payment]) -> float:
    return max((payment.until_s for payment in found), default=1.0) + 0.2


def _lanes(story: Story, found: Sequence[Payment]) -> Markup:
    bars = [
        Bar(
            lane=payment.visit.terminal_id,
            from_s=payment.from_s,
            until_s=payment.until_s,
            colour=payment.colour,
            title=f"{payment.number}: {payment.who}, {payment.visit.visit.kind}, {payment.colour_key}",
            anchor=payment.anchor,
        )
        for payment in found
    ]
    return charts.lanes(bars, _bands(story), _end_s(found))


def _latencies(story: Story, found: Sequence[Payment]) -> Markup:
    points = [
        Point(p.until_s, p.latency_ms, p.colour, f"{p.number}: {p.who}, {p.latency_ms:.0f} ms")
        for p in found
        if p.latency_ms is not None
    ]
    return charts.latencies(points, _bands(story), _end_s(found))


def _stages(found: Sequence[Payment]) -> Markup:
    values: dict[str, list[float]] = {"whole": [p.latency_ms for p in found if p.latency_ms is not None]}
    for payment in found:
        if payment.timeline is not None:
            for name, ms in stages_ms(payment.timeline).items():
                values.setdefault(name, []).append(ms)
            decided_us, known_us = payment.timeline.decided_at_us, payment.visit.outcome_at_us
            if payment.outcome == "settled" and decided_us is not None and known_us is not None:
                values.setdefault("notice", []).append(max(0.0, (known_us - decided_us) / 1000))
    texts: Mapping[str, str] = {
        "whole": "first frame of one person close by, to the terminal's knowing; without the PIN pad",
        **STAGES,
        "notice": "decision in the ledger to the terminal's knowing (Kafka transaction, gateway, long poll)",
    }
    titles = {
        "whole": "Face to settlement",
        "recognise": "Recognise",
        "judge": "Judge",
        "confirm": "The person at the PIN pad",
        "settle": "Settle",
        "emit": "Emit",
        "notice": "Notice",
    }
    every = [ms for list_ in values.values() for ms in list_]
    low, high = 0.3, max(1_000.0, max(every, default=1_000.0))
    return el(
        "div",
        (
            el(
                "div",
                el("h3", titles[name]),
                el("p", text, class_="what"),
                charts.distribution(values[name], low, high),
                el("p", _summary(values[name]), class_="summary"),
                class_="stage",
            )
            for name, text in texts.items()
            if values.get(name)
        ),
        class_="stages",
    )


def _summary(values: Sequence[float]) -> str:
    marks = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0))
    said = ", ".join(f"{name} {percentile(values, share) or 0:.0f}" for name, share in marks)
    return f"{said} ms ({len(values)} payments)"


def _hints(story: Story) -> Markup:
    hints: Counter[str] = Counter(record.event.code for record in story.history.hints)
    verdicts = Counter(reason for record in story.history.verdicts for reason in record.event.reasons)
    outcomes = Counter(
        f"{record.event.outcome}: {reason}" for record in story.history.settlements for reason in record.event.reasons
    )
    groups = (("Hints", hints), ("Reasons of verdicts", verdicts), ("Reasons of outcomes", outcomes))
    return el("div", (tables.counts(title, counted) for title, counted in groups if counted), class_="groups")


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} ms"
