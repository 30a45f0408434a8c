"""The payer's zone: the part of a camera's picture in which a person who pays stands. Pure geometry.

A zone is a polygon in shares of the picture, so that it outlives a change of resolution: (0, 0) is the upper left
corner, (1, 1) the lower right one, x to the right, y down. No corners mean the whole picture. A polygon is simple: it
has at least three corners, all inside the picture, none twice, and its edges meet at their common corners only. So
"inside" has one meaning, whatever rule counts it.

`in_zone` is asked for each face; `zone_fault` once, when a camera is registered, and it calculates exactly: rounding
never turns a wrong polygon into a right one.
"""

from __future__ import annotations

from fractions import Fraction
from math import isfinite

Point = tuple[float, float]
Zone = tuple[Point, ...]

MAX_CORNERS = 64
"""More than a counter needs, and few enough for `zone_fault`, which compares each edge with each."""


def in_zone(zone: Zone, x: float, y: float) -> bool:
    """Whether the point lies in the zone, its border included; a point outside the picture, or one that is no number,
    never does.

    Even-odd rule (Shimrat 1962, Algorithm 112): a ray to the right crosses the border an odd number of times. An edge
    takes its upper end and not its lower one, so that a ray through a corner counts it once.
    """
    if not (0.0 <= x <= 1.0 and 0.0 <= y <= 1.0):  # a NaN is refused here too: it compares false
        return False
    if not zone:
        return True
    inside = False
    ax, ay = zone[-1]
    for bx, by in zone:
        side = (bx - ax) * (y - ay) - (by - ay) * (x - ax)
        if side == 0.0 and min(ax, bx) <= x <= max(ax, bx) and min(ay, by) <= y <= max(ay, by):
            return True
        if (ay > y) != (by > y) and (side > 0.0) == (by > ay):
            inside = not inside
        ax, ay = bx, by
    return inside


def zone_fault(zone: Zone) -> str | None:
    """What is wrong with a zone, in words that follow "its zone"; None when it is right."""
    if not zone:
        return None
    if not 3 <= len(zone) <= MAX_CORNERS:
        return f"has {len(zone)} corners; give none for the whole picture, or 3 to {MAX_CORNERS}"
    if not all(isfinite(share) and 0.0 <= share <= 1.0 for corner in zone for share in corner):
        return "has a corner outside the picture; give shares of its width and height, 0 to 1"
    if len(set(zone)) < len(zone):
        return "names a corner twice; give each corner once, the last one joins the first"
    corners = [(Fraction(x), Fraction(y)) for x, y in zone]
    edges = [(corners[i - 1], corners[i]) for i in range(len(corners))]
    for i, one in enumerate(edges):
        for j in range(i + 1, len(edges)):
            if _touch(one, edges[j], neighbours=j == i + 1 or (i == 0 and j == len(edges) - 1)):
                return "crosses or touches itself; give the corners in their order around it"
    return None


_Exact = tuple[Fraction, Fraction]
_Edge = tuple[_Exact, _Exact]


def _touch(one: _Edge, two: _Edge, *, neighbours: bool) -> bool:
    """Whether two edges have a point in common, beside the corner that neighbours share."""
    (a, b), (c, d) = one, two
    sides = _side(a, b, c), _side(a, b, d), _side(c, d, a), _side(c, d, b)
    if neighbours:
        # Distinct ends and one common corner: they meet elsewhere only by running back over each other.
        shared = b if b in two else a
        far, other = (a if shared == b else b), (d if shared == c else c)
        return sides == (0, 0, 0, 0) and _towards(shared, far, other)
    if 0 in sides:
        return any(
            side == 0 and _within(edge, point)
            for side, edge, point in zip(sides, (one, one, two, two), (c, d, a, b), strict=True)
        )
    return sides[0] != sides[1] and sides[2] != sides[3]


def _side(a: _Exact, b: _Exact, p: _Exact) -> int:
    """1 or -1 by the side of the line from a to b on which p lies, 0 on the line."""
    cross = (b[0] - a[0]) * (p[1] - a[1]) - (b[1] - a[1]) * (p[0] - a[0])
    return (cross > 0) - (cross < 0)


def _towards(corner: _Exact, one: _Exact, two: _Exact) -> bool:
    """Whether two points of one line lie on the same side of a corner on it."""
    return (one[0] - corner[0]) * (two[0] - corner[0]) + (one[1] - corner[1]) * (two[1] - corner[1]) > 0


def _within(edge: _Edge, p: _Exact) -> bool:
    """Whether a point of the edge's line lies on the edge."""
    (ax, ay), (bx, by) = edge
    return min(ax, bx) <= p[0] <= max(ax, bx) and min(ay, by) <= p[1] <= max(ay, by)
