"""The tables of the report: the audit, counted reasons, and every payment with its own timeline."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from loadtests.demo.statistics import percentile
from loadtests.motion import thumbnail
from loadtests.report import charts
from loadtests.report.charts import SEGMENT_COLOURS
from loadtests.report.markup import Markup, data_uri, el
from loadtests.report.payments import Payment
from pipeline.audit.findings import Finding

THUMBNAIL_PX = 96
VIOLATIONS_SHOWN = 50


def audit(findings: Mapping[str, Finding], titles: Mapping[str, str]) -> Markup:
    """Each invariant with its answer, and what is wrong by ids and facts."""
    rows = []
    for name, finding in findings.items():
        good = not finding.violations
        state = el(
            "span", "holds" if good else f"{len(finding.violations)} violations", class_="good" if good else "bad"
        )
        rows.append(
            el(
                "tr",
                el("td", name),
                el("td", titles[name]),
                el("td", finding.checked, class_="number"),
                el("td", state),
            )
        )
        for violation in finding.violations[:VIOLATIONS_SHOWN]:
            said = f"{violation.kind} {violation.subject}: {violation.detail}"
            rows.append(el("tr", el("td"), el("td", said, colspan=3, class_="violation")))
    head = el("tr", (el("th", title) for title in ("", "promise", "checked", "")))
    return el("table", el("thead", head), el("tbody", rows), class_="audit")


def counts(title: str, counted: Counter[str]) -> Markup:
    """Codes by how often they came, as bars."""
    most = max(counted.values())
    rows = (
        el(
            "tr",
            el("td", name.replace("_", " ")),
            el("td", el("i", style=f"width:{100 * n / most:.0f}%"), class_="bar"),
            el("td", n, class_="number"),
        )
        for name, n in counted.most_common()
    )
    return el("div", el("h3", title), el("table", el("tbody", rows), class_="counts"))


def payments(found: Sequence[Payment]) -> Markup:
    """The filterable table."""
    whole = [payment.segments()[-1].until_ms for payment in found if payment.segments()]
    scale_ms = max(200.0, percentile(whole, 0.9) or 0.0)
    kinds = sorted({str(payment.visit.visit.kind) for payment in found})
    outcomes = sorted({payment.colour_key for payment in found})
    controls = el(
        "p",
        el("input", id="search", type="search", placeholder="terminal, person, reason, id", aria_label="Search"),
        _choice("outcome", "every outcome", outcomes),
        _choice("kind", "every kind of visit", kinds),
        el("label", el("input", id="disturbed", type="checkbox"), " only while an agent was away"),
        el("span", id="shown"),
        class_="controls",
    )
    legend = (el("span", el("i", style=f"background:{colour}"), name) for name, colour in SEGMENT_COLOURS.items())
    titles = ("", "at", "terminal", "who stood there", "amount", "outcome", f"stages (bar = {scale_ms:.0f} ms)", "ms")
    head = el("thead", el("tr", (el("th", title) for title in titles)))
    body = el("tbody", (_row(payment, scale_ms) for payment in found))
    return el("div", controls, el("p", legend, class_="legend"), el("table", head, body, id="payments"))


def _choice(name: str, everything: str, values: Sequence[str]) -> Markup:
    options = [el("option", everything, value=""), *(el("option", value, value=value) for value in values)]
    return el("select", options, id=name, aria_label=name)


def _row(payment: Payment, scale_ms: float) -> Markup:
    visit = payment.visit
    hints = ", ".join(hint.replace("_", " ") for hint in visit.hints)
    reasons = ", ".join(reason.replace("_", " ") for reason in (*visit.reasons, *payment.reasons))
    said = "; ".join(text for text in (hints, reasons) if text)
    picture = None
    if payment.picture is not None:
        picture = el("img", src=data_uri(thumbnail(payment.picture, THUMBNAIL_PX, 60)), alt="", loading="lazy")
    state = el("span", payment.colour_key, class_="state", style=f"background:{payment.colour}")
    wrong = None if payment.right else el("span", "charged the wrong person", class_="bad")
    timeline = el("details", el("summary", "timeline"), _timeline(payment))
    return el(
        "tr",
        el("td", picture, class_="thumb"),
        el("td", f"{payment.from_s:.1f} s", class_="number"),
        el("td", visit.terminal_id),
        el("td", payment.who, el("span", visit.visit.kind, class_="sub")),
        el("td", f"{visit.visit.amount_minor / 100:.2f}", class_="number"),
        el("td", state, wrong, el("span", said, class_="sub")),
        el("td", charts.strip(payment.segments(), scale_ms) if payment.segments() else None, timeline),
        el("td", "" if payment.latency_ms is None else f"{payment.latency_ms:.0f}", class_="number"),
        id=payment.anchor,
        data_outcome=payment.colour_key,
        data_kind=str(visit.visit.kind),
        data_disturbed="1" if payment.disturbed else None,
    )


def _timeline(payment: Payment) -> Markup:
    rows = (
        el(
            "tr",
            el("td", f"{line.at_ms:+.0f} ms", class_="number"),
            el("td", line.where),
            el("td", line.what),
            el("td", line.detail),
        )
        for line in payment.lines()
    )
    return el("div", el("table", el("tbody", rows)), el("p", payment.visit.intent_id, class_="sub"), class_="timeline")
