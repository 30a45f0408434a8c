"""A chart of searches: FPIR and FNIR against the size of the gallery, with their 95 % bands, as one SVG file.

Two panels share the axis of N. A rate of nothing seen has no place on a logarithmic axis: there only its band is drawn,
from the bottom to what zero errors still allow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from loadtests.report.markup import Markup, el, join
from pipeline.evaluate.crowd import Found

WIDTH, HEIGHT = 980, 420
_LEFT, _TOP, _PANEL, _GAP, _BOTTOM = 76, 64, 385, 94, 360
_IN_FORCE, _FLAT, _PROMISED = "#0072b2", "#d55e00", "#6b7280"
_LEAST = 1e-6
_TEXT: dict[str, str | int] = {"font_family": "system-ui, sans-serif", "font_size": 12, "fill": "#1f2937"}


@dataclass(frozen=True, slots=True)
class _Panel:
    """A panel's place and axes: from numbers to pixels."""

    left: float
    x: Callable[[float], float]
    y: Callable[[float], float]
    ticks: Sequence[tuple[float, str]]


def identification(rising: Sequence[Found], flat: Sequence[Found], title: str) -> str:
    """The chart of rows at the thresholds in force, and of the same galleries at the manifest's threshold alone."""
    sizes = [row.n for row in rising]
    fpir = _fpir_panel(sizes)
    fnir = _fnir_panel(sizes, max(row.fnir_ci[1] for row in [*rising, *flat]))
    content = [
        el("rect", x=0, y=0, width=WIDTH, height=HEIGHT, fill="#ffffff"),
        el("text", f"Searching {title}: 95 % bands", x=_LEFT, y=20, **_TEXT | {"font_size": 15, "font_weight": 600}),
        _legend(),
        _axes(fpir, "FPIR: a stranger's picture finds somebody", sizes),
        _line(fpir, [(row.n, row.fpir_transaction) for row in rising], _PROMISED, dashes="2 4"),
        _series(fpir, [(row.n, row.fpir, row.fpir_ci) for row in flat], _FLAT, dashes="6 4"),
        _series(fpir, [(row.n, row.fpir, row.fpir_ci) for row in rising], _IN_FORCE),
        _axes(fnir, "FNIR: a payer's picture does not find them", sizes),
        _series(fnir, [(row.n, row.fnir, row.fnir_ci) for row in flat], _FLAT, dashes="6 4"),
        _series(fnir, [(row.n, row.fnir, row.fnir_ci) for row in rising], _IN_FORCE),
        [_label(fnir, row.n, row.fnir, f"{row.threshold:.3f}") for row in rising],
    ]
    return el("svg", *content, xmlns="http://www.w3.org/2000/svg", viewbox=f"0 0 {WIDTH} {HEIGHT}", role="img") + "\n"


def _fpir_panel(sizes: Sequence[int]) -> _Panel:
    decades = -math.log10(_LEAST)

    def y(rate: float) -> float:
        return _TOP + (_BOTTOM - _TOP) * -math.log10(min(max(rate, _LEAST), 1.0)) / decades

    names = ["100 %", "10 %", "1 %", "0.1 %", "0.01 %", "0.001 %", "0.0001 %"]
    ticks = [(10.0**-power, name) for power, name in enumerate(names) if power <= decades]
    return _Panel(_LEFT, _across(_LEFT, sizes), y, ticks)


def _fnir_panel(sizes: Sequence[int], highest: float) -> _Panel:
    step = next(step for step in (0.005, 0.01, 0.02, 0.05, 0.1, 0.25) if highest <= 5 * step or step == 0.25)
    top = step * max(1, math.ceil(highest / step))
    left = _LEFT + _PANEL + _GAP

    def y(rate: float) -> float:
        return _BOTTOM - (_BOTTOM - _TOP) * rate / top

    ticks = [(step * number, f"{step * number:.1%}") for number in range(round(top / step) + 1)]
    return _Panel(left, _across(left, sizes), y, ticks)


def _across(left: float, sizes: Sequence[int]) -> Callable[[float], float]:
    low, high = math.log10(min(sizes)), math.log10(max(sizes))
    return lambda n: left + _PANEL * (math.log10(n) - low) / max(high - low, 1e-9)


def _axes(panel: _Panel, title: str, sizes: Sequence[int]) -> Markup:
    right = panel.left + _PANEL
    powers = range(math.ceil(math.log10(min(sizes))), math.floor(math.log10(max(sizes))) + 1)
    return join(
        [
            el("text", title, x=panel.left, y=_TOP - 12, **_TEXT | {"font_weight": 600}),
            (
                [
                    el("line", x1=panel.left, x2=right, y1=panel.y(at), y2=panel.y(at), stroke="#e5e7eb"),
                    el("text", name, x=panel.left - 8, y=panel.y(at) + 4, text_anchor="end", **_TEXT),
                ]
                for at, name in panel.ticks
            ),
            (
                [
                    el("line", x1=panel.x(10**p), x2=panel.x(10**p), y1=_TOP, y2=_BOTTOM, stroke="#e5e7eb"),
                    el("text", f"{10**p:,}", x=panel.x(10**p), y=_BOTTOM + 18, text_anchor="middle", **_TEXT),
                ]
                for p in powers
            ),
            el(
                "text",
                "people in the gallery",
                x=panel.left + _PANEL / 2,
                y=_BOTTOM + 38,
                text_anchor="middle",
                **_TEXT,
            ),
        ]
    )


def _series(
    panel: _Panel, rows: Sequence[tuple[int, float, tuple[float, float]]], colour: str, *, dashes: str | None = None
) -> Markup:
    """The band, and the line where something was seen (on a linear axis zero is a place like any other)."""
    upper = [(panel.x(n), panel.y(ci[1])) for n, _, ci in rows]
    lower = [(panel.x(n), panel.y(ci[0])) for n, _, ci in reversed(rows)]
    band = " ".join(f"{x:.1f},{y:.1f}" for x, y in [*upper, *lower])
    logarithmic = panel.ticks[0][0] == 1.0
    seen = [(n, rate) for n, rate, _ in rows if rate > 0 or not logarithmic]
    return join(
        [
            el("polygon", points=band, fill=colour, fill_opacity=0.13),
            _line(panel, seen, colour, dashes=dashes),
            (el("circle", cx=panel.x(n), cy=panel.y(rate), r=3, fill=colour) for n, rate in seen),
        ]
    )


def _line(panel: _Panel, rows: Sequence[tuple[int, float]], colour: str, *, dashes: str | None = None) -> Markup:
    points = " ".join(f"{panel.x(n):.1f},{panel.y(rate):.1f}" for n, rate in rows)
    return el("polyline", points=points, fill="none", stroke=colour, stroke_width=2, stroke_dasharray=dashes)


def _label(panel: _Panel, n: int, rate: float, text: str) -> Markup:
    at: dict[str, str | float] = {"x": panel.x(n), "y": panel.y(rate) - 9, "text_anchor": "middle"}
    return el("text", text, **at, **_TEXT | {"font_size": 10, "fill": _IN_FORCE})


def _legend() -> Markup:
    entries = (
        (_IN_FORCE, None, "threshold in force, rising with the gallery"),
        (_FLAT, "6 4", "the manifest's threshold at any size"),
        (_PROMISED, "2 4", "promised per transaction, in force"),
    )
    return join(
        [
            el("line", x1=_LEFT + 310 * k, x2=_LEFT + 310 * k + 26, y1=HEIGHT - 10, y2=HEIGHT - 10, stroke=colour,
               stroke_width=2, stroke_dasharray=dashes),
            el("text", text, x=_LEFT + 310 * k + 33, y=HEIGHT - 6, **_TEXT),
        ]
        for k, (colour, dashes, text) in enumerate(entries)
    )  # fmt: skip
