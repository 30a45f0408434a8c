"""Exact 1:N search in memory, fast because it looks at 8-bit codes first and exact because it does not believe them.

`exact` keeps which template lies where; `segments` holds the rows; `kernels` scan them; `search` chooses what to
compute again in float64. Only `ExactIndex` and `Arrays` are for others.
"""

from pipeline.gallery.index.exact import ExactIndex
from pipeline.gallery.index.segments import Arrays

__all__ = ["Arrays", "ExactIndex"]
