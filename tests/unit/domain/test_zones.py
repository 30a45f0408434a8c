"""The payer's zone: which points lie in a polygon, and which polygons are none."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from pipeline.domain.zones import MAX_CORNERS, Point, Zone, in_zone, zone_fault

SQUARE: Zone = ((0.2, 0.2), (0.8, 0.2), (0.8, 0.8), (0.2, 0.8))
# An L: the upper right quarter of the square is not in it.
CORNER: Zone = ((0.2, 0.2), (0.5, 0.2), (0.5, 0.5), (0.8, 0.5), (0.8, 0.8), (0.2, 0.8))
TEETH: Zone = ((0.0, 1.0), (0.2, 0.4), (0.4, 1.0), (0.6, 0.4), (0.8, 1.0), (0.8, 0.2), (0.0, 0.2))

ROWS: list[tuple[str, Zone, Point, bool]] = [
    ("no corners: the whole picture", (), (0.99, 0.01), True),
    ("the picture's own corner", (), (1.0, 1.0), True),
    ("beside the picture", (), (1.001, 0.5), False),
    ("above the picture", (), (0.5, -0.001), False),
    ("no number", (), (math.nan, 0.5), False),
    ("no number, in a polygon", SQUARE, (0.5, math.nan), False),
    ("the middle of a square", SQUARE, (0.5, 0.5), True),
    ("left of a square", SQUARE, (0.19, 0.5), False),
    ("right of a square", SQUARE, (0.81, 0.5), False),
    ("on an edge", SQUARE, (0.2, 0.5), True),
    ("on the lower edge", SQUARE, (0.5, 0.8), True),
    ("on a corner", SQUARE, (0.8, 0.2), True),
    ("on an edge's line, beyond its end", SQUARE, (0.2, 0.9), False),
    ("in an L's stem", CORNER, (0.3, 0.3), True),
    ("in the quarter that an L lacks", CORNER, (0.7, 0.3), False),
    ("in an L's foot", CORNER, (0.7, 0.6), True),
    ("on the corner that looks inwards", CORNER, (0.5, 0.5), True),
    ("left of a corner, at its height", TEETH, (0.1, 0.4), True),
    ("between two teeth, at their roots' height", TEETH, (0.4, 0.9), True),
    ("in a notch", TEETH, (0.2, 0.9), False),
    ("in the next notch", TEETH, (0.6, 0.9), False),
]


@pytest.mark.parametrize(("what", "zone", "point", "inside"), ROWS, ids=[row[0] for row in ROWS])
def test_where_a_point_lies(what: str, zone: Zone, point: Point, inside: bool) -> None:
    """The border belongs to the zone, what is outside the picture never does."""
    assert in_zone(zone, *point) is inside, what
    assert in_zone(zone[::-1], *point) is inside, "the corners may go either way round"


FAULTS: list[tuple[str, Zone, str | None]] = [
    ("the whole picture", (), None),
    ("a triangle", ((0, 0), (1, 0), (0, 1)), None),
    ("the picture's border", ((0, 0), (1, 0), (1, 1), (0, 1)), None),
    ("an L", CORNER, None),
    ("teeth", TEETH, None),
    ("a corner in the middle of a straight edge", ((0, 0), (0.5, 0), (1, 0), (1, 1)), None),
    ("one corner", ((0.5, 0.5),), "1 corners"),
    ("two corners", ((0, 0), (1, 1)), "2 corners"),
    ("too many corners", (*((i / 100, 0.0) for i in range(MAX_CORNERS)), (0.5, 1.0)), "65 corners"),
    ("right of the picture", ((0, 0), (1.01, 0), (0, 1)), "outside the picture"),
    ("above the picture", ((0, -0.01), (1, 0), (0, 1)), "outside the picture"),
    ("no number", ((0, math.nan), (1, 0), (0, 1)), "outside the picture"),
    ("without end", ((0, math.inf), (1, 0), (0, 1)), "outside the picture"),
    ("the first corner again at the end", (*SQUARE, SQUARE[0]), "twice"),
    ("a bow tie", ((0, 0), (1, 1), (1, 0), (0, 1)), "crosses or touches"),
    ("a corner on another edge", ((0, 0), (1, 0), (1, 1), (0.5, 0), (0, 1)), "crosses or touches"),
    ("an edge that runs back", ((0, 0), (1, 0), (0.5, 0), (0.5, 1)), "crosses or touches"),
    ("all on one line", ((0, 0), (0.5, 0.5), (1, 1)), "crosses or touches"),
    ("edges that lie on each other", ((0, 0), (0.6, 0), (0.6, 0.5), (0.5, 0), (0.9, 0), (0.9, 1)), "crosses"),
]  # fmt: skip


@pytest.mark.parametrize(("what", "zone", "says"), FAULTS, ids=[row[0] for row in FAULTS])
def test_what_is_no_zone(what: str, zone: Zone, says: str | None) -> None:
    """A polygon is refused with words that say what is wrong, whichever corner it begins with."""
    for start in range(max(1, len(zone))):
        turned = zone[start:] + zone[:start]
        for way in (turned, turned[::-1]):
            fault = zone_fault(way)
            assert fault is None if says is None else fault is not None and says in fault, f"{what}: {fault}"


# Thousandths: points that lie on edges and corners come up, and each is the same number for both calculations.
shares = st.integers(0, 1000).map(lambda n: n / 1000)
points = st.tuples(shares, shares)


def star(centre: Point, rays: list[tuple[float, float]]) -> Zone:
    """A polygon around a centre, one corner per (angle, length); simple when no two angles are half a turn apart."""
    x, y = centre
    ordered = sorted(rays)
    return tuple((x + length * math.cos(angle), y + length * math.sin(angle)) for angle, length in ordered)


stars = st.builds(
    star,
    st.just((0.5, 0.5)),
    st.lists(
        st.tuples(st.integers(0, 35).map(lambda n: n * math.tau / 36), st.floats(0.05, 0.5)),
        min_size=8, max_size=20, unique_by=lambda ray: ray[0],
    ),
)  # fmt: skip


def winding(zone: Zone, x: float, y: float) -> int:
    """How often the border goes round the point, added up in exact angles' signs (Hormann and Agathos 2001)."""
    px, py = Fraction(x), Fraction(y)
    turns = 0
    for (ax, ay), (bx, by) in zip(zone, zone[1:] + zone[:1], strict=True):
        side = (Fraction(bx) - Fraction(ax)) * (py - Fraction(ay)) - (Fraction(by) - Fraction(ay)) * (px - Fraction(ax))
        if ay <= y < by and side > 0:
            turns += 1
        elif by <= y < ay and side < 0:
            turns -= 1
    return turns


@given(stars, points)
def test_another_rule_says_the_same(zone: Zone, point: Point) -> None:
    """Off the border, the even-odd rule in floating point and an exact count of turns agree."""
    assume(zone_fault(zone) is None)
    inside = in_zone(zone, *point)
    near = any(in_zone(zone, point[0] + dx, point[1] + dy) != inside for dx in (-1e-9, 1e-9) for dy in (-1e-9, 1e-9))
    assume(not near)
    assert inside is (winding(zone, *point) != 0)


@given(points, points, points, st.integers(1, 98), st.integers(1, 98))
def test_a_mean_of_a_triangle_s_corners_is_inside(a: Point, b: Point, c: Point, i: int, j: int) -> None:
    """Any mixture of three corners lies in their triangle; mirrored at an edge it does not."""
    assume(i + j < 99)
    area = abs((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]))
    assume(area > 1e-3)
    u, v = i / 100, j / 100
    x, y = (a[axis] * u + b[axis] * v + c[axis] * (1 - u - v) for axis in (0, 1))
    assert in_zone((a, b, c), x, y)
    assert not in_zone((a, b, c), a[0] + b[0] - x, a[1] + b[1] - y)


@given(st.lists(points, min_size=3, max_size=6, unique=True).map(tuple), points)
@example(((0.0, 0.0), (1.0, 0.0), (0.0, 1.0)), (0.5, 0.5))
def test_where_the_corners_begin_does_not_matter(zone: Zone, point: Point) -> None:
    """The same corners from another one on, or the other way round, are the same zone, with the same faults."""
    ways = [turned for i in range(len(zone)) for turned in (zone[i:] + zone[:i], (zone[i:] + zone[:i])[::-1])]
    assert len({zone_fault(way) is None for way in ways}) == 1
    if zone_fault(zone) is None:
        inside = {in_zone(way, *point) for way in ways}
        near = {in_zone(zone, min(1, max(0, point[0] + d)), point[1]) for d in (-1e-9, 1e-9)}
        assert len(inside) == 1 or len(near) > 1, "only a point within rounding of the border may differ"


@given(st.lists(points, min_size=3, max_size=7, unique=True).map(tuple))
def test_a_polygon_without_fault_has_one_inside(zone: Zone) -> None:
    """What passes as simple has a border that winds once, one way: a crossing would make another count somewhere."""
    assume(zone_fault(zone) is None)
    turns = {winding(zone, (x + 0.5) / 12, (y + 0.5) / 12) for x in range(12) for y in range(12)}
    assert turns <= {0, 1} or turns <= {0, -1}
