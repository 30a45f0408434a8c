"""The hot tier: payers seen lately in this region, shared through Redis and mirrored in each embedding agent.

`tier` is what a process makes; `standing` is the rule by which a hot answer may stand; `layout` and `scripts` are what
Redis holds. How it works and what was measured: docs/hot-tier.md.
"""

from pipeline.gallery.hot.eraser import HotEraser
from pipeline.gallery.hot.standing import Rule
from pipeline.gallery.hot.tier import HotTier

__all__ = ["HotEraser", "HotTier", "Rule"]
