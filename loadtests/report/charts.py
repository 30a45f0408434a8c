"""The charts of the report as inline SVG: lanes over time, latency over time, the distribution of each stage."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from loadtests.demo.statistics import log_bins, percentile
from loadtests.report.markup import Markup, el, join

COLOURS: Mapping[str, str] = {
    "settled": "#009e73",
    "settled with PIN": "#0072b2",
    "declined": "#cc79a7",
    "cancelled": "#8a8f98",
    "expired": "#e69f00",
    "without outcome": "#d55e00",
}
"""Okabe and Ito's palette, which people with any colour vision can tell apart."""

WIDTH = 1140
_LEFT, _RIGHT = 132, 12


@dataclass(frozen=True, slots=True)
class Bar:
    """A payment on its lane; seconds since the start."""

    lane: str
    from_s: float
    until_s: float
    colour: str
    title: str
    anchor: str


@dataclass(frozen=True, slots=True)
class Point:
    """A settled payment: when it was settled and how long it took."""

    at_s: float
    latency_ms: float
    colour: str
    title: str


@dataclass(frozen=True, slots=True)
class Band:
    """A disturbance; seconds since the start."""

    from_s: float
    until_s: float
    label: str


def _x(at_s: float, end_s: float) -> float:
    return _LEFT + (WIDTH - _LEFT - _RIGHT) * min(max(at_s, 0.0), end_s) / end_s


def _bands(bands: Sequence[Band], end_s: float, top: float, bottom: float) -> Markup:
    return join(
        (
            el("rect", x=_x(b.from_s, end_s), y=top, width=max(2.0, _x(b.until_s, end_s) - _x(b.from_s, end_s)),
               height=bottom - top, class_="band"),
            el("text", b.label, x=_x(b.from_s, end_s) + 4, y=top - 4, class_="band-label"),
        )
        for b in bands
    )  # fmt: skip


def _time_axis(end_s: float, top: float, bottom: float) -> Markup:
    step = next((s for s in (1, 2, 5, 10, 20, 30, 60, 120, 300, 600) if end_s / s <= 14), 1200)
    ticks = [step * n for n in range(int(end_s / step) + 1)]
    return join(
        (
            el("line", x1=_x(t, end_s), x2=_x(t, end_s), y1=top, y2=bottom, class_="grid"),
            el("text", f"{t} s", x=_x(t, end_s), y=bottom + 15, class_="tick", text_anchor="middle"),
        )
        for t in ticks
    )


def lanes(bars: Sequence[Bar], bands: Sequence[Band], end_s: float) -> Markup:
    """Every payment as a bar on its terminal's lane, from the open to the moment the terminal knew the outcome."""
    names = sorted({bar.lane for bar in bars})
    row, top = 24, 22
    bottom = top + row * len(names)
    rows = {name: top + row * number for number, name in enumerate(names)}
    content = [
        _time_axis(end_s, top, bottom),
        (el("text", name, x=_LEFT - 8, y=y + 16, class_="lane", text_anchor="end") for name, y in rows.items()),
        (
            el(
                "a",
                el(
                    "rect",
                    el("title", bar.title),
                    x=_x(bar.from_s, end_s),
                    y=rows[bar.lane] + 4,
                    width=max(1.5, _x(bar.until_s, end_s) - _x(bar.from_s, end_s) - 0.6),
                    height=row - 8,
                    rx=2,
                    fill=bar.colour,
                ),
                href=f"#{bar.anchor}",
            )
            for bar in bars
        ),
        # Last, so that it shows on the bars that were under way.
        _bands(bands, end_s, top, bottom),
    ]
    return el("svg", *content, viewbox=f"0 0 {WIDTH} {bottom + 24}", class_="chart", role="img")


def latencies(points: Sequence[Point], bands: Sequence[Band], end_s: float) -> Markup:
    """Each settled payment by when it was settled and how long it took, on a logarithmic axis."""
    top, height = 22, 200
    bottom = top + height
    low = 10 ** math.floor(math.log10(max(1.0, min((p.latency_ms for p in points), default=10))))
    high = 10 ** math.ceil(math.log10(max(100.0, max((p.latency_ms for p in points), default=1000))))

    def y(ms: float) -> float:
        share = (math.log10(max(ms, low)) - math.log10(low)) / (math.log10(high) - math.log10(low))
        return bottom - height * share

    decades = [10**n for n in range(round(math.log10(low)), round(math.log10(high)) + 1)]
    content = [
        _bands(bands, end_s, top, bottom),
        _time_axis(end_s, top, bottom),
        (
            (
                el("line", x1=_LEFT, x2=WIDTH - _RIGHT, y1=y(ms), y2=y(ms), class_="grid"),
                el("text", milliseconds(ms), x=_LEFT - 8, y=y(ms) + 4, class_="tick", text_anchor="end"),
            )
            for ms in decades
        ),
        (
            el("circle", el("title", p.title), cx=_x(p.at_s, end_s), cy=y(p.latency_ms), r=3.2, fill=p.colour)
            for p in points
        ),
    ]
    return el("svg", *content, viewbox=f"0 0 {WIDTH} {bottom + 24}", class_="chart", role="img")


def distribution(values: Sequence[float], low: float, high: float) -> Markup:
    """A histogram on a logarithmic axis with the median and the 99th percentile marked; times in milliseconds."""
    width, height, foot, count = 260, 74, 16, 40
    bins = log_bins(values, low, high, count)
    tallest = max(*bins, 1)

    def x(ms: float) -> float:
        return width * (math.log(min(max(ms, low), high)) - math.log(low)) / (math.log(high) - math.log(low))

    marks = [(percentile(values, 0.5), "p50"), (percentile(values, 0.99), "p99")]
    decades = [10.0**n for n in range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)]
    content = [
        (el("line", x1=x(d), x2=x(d), y1=0, y2=height, class_="grid") for d in decades),
        (
            el("text", milliseconds(d), x=x(d), y=height + 12, class_="tick",
               text_anchor="start" if x(d) < 8 else "end" if x(d) > width - 8 else "middle")
            for d in decades
        ),
        (
            el("rect", x=width / count * n + 0.5, y=height - height * b / tallest, width=width / count - 1,
               height=height * b / tallest, class_="bin")
            for n, b in enumerate(bins)
            if b
        ),
        (
            el("line", el("title", f"{name} {value} ms"), x1=x(value), x2=x(value), y1=0, y2=height, class_=name)
            for value, name in marks
            if value is not None
        ),
    ]  # fmt: skip
    return el("svg", *content, viewbox=f"0 0 {width} {height + foot}", class_="small", role="img")


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a payment's own timeline, in milliseconds since it was opened."""

    name: str
    from_ms: float
    until_ms: float


SEGMENT_COLOURS: Mapping[str, str] = {
    "approach": "#d7dbe0",
    "recognise": "#56b4e9",
    "judge": "#f0b429",
    "PIN pad": "#eadff0",
    "settle": "#009e73",
    "notice": "#7a8490",
}


def strip(segments: Sequence[Segment], whole_ms: float) -> Markup:
    """One payment's stages as a bar; all strips share one scale, `whole_ms` wide."""
    width, height = 230, 14

    def x(ms: float) -> float:
        return width * min(ms, whole_ms) / whole_ms

    return el(
        "svg",
        (
            el(
                "rect",
                el("title", f"{s.name} {s.until_ms - s.from_ms:.0f} ms"),
                x=x(s.from_ms),
                y=1,
                width=max(0.8, x(s.until_ms) - x(s.from_ms)),
                height=height - 2,
                fill=SEGMENT_COLOURS[s.name],
            )
            for s in segments
            if s.from_ms < whole_ms
        ),
        viewbox=f"0 0 {width} {height}",
        class_="strip",
    )


def milliseconds(value: float) -> str:
    """A time as a person reads it."""
    return f"{value / 1000:g} s" if value >= 1000 else f"{value:g} ms"
