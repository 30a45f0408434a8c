"""When a face decides: thresholds, patience, and how many templates it may be compared with."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline.domain import fmr
from pipeline.domain.fmr import FmrModel, Needed, Trials
from pipeline.domain.quality import Limits
from pipeline.domain.tracks import Continuity
from schemas.events import ClaimKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """When a face decides. Cosines but for `min_face_px` (width of the box) and counts of frames and attempts."""

    match_threshold: float
    strong_threshold: float
    margin: float
    votes: int
    min_face_px: int
    limits: Limits
    patience: int = 6
    refusal_patience: int = 30
    max_attempts: int = 5
    max_repeated: int = 3
    same_face: float = 0.36
    """Below this similarity to the frame before, another face stands there (FMR 1e-3: a wrong "same" only costs a vote
    for a face that would have to match the same payer anyway)."""
    live_threshold: float | None = None
    """Least liveness of an attempt that decides; None when liveness is not required."""
    live_floor: float = 0.5
    """Least liveness of a single frame that votes, where liveness is required."""
    continuity: Continuity = field(default_factory=Continuity)
    crowd_us: int = 1_000_000
    """How long what one camera saw last, two faces or a lone one, is held against what another one sees."""
    fmr: FmrModel | None = None
    """What is known of the embedder's false matches; None limits nothing: an embedder that nobody calibrated."""
    max_fpir: float = 1e-2
    """How often a stranger's transaction, with all its frames and attempts, may find somebody."""

    @property
    def trials(self) -> Trials:
        """The judged frames of a transaction."""
        return Trials(frames=self.patience, attempts=self.max_attempts)

    @property
    def most_templates(self) -> int | None:
        """The largest number of templates that the data support; None when nothing limits it."""
        return None if self.fmr is None else fmr.supported(self.fmr, self.trials, self.max_fpir)

    def threshold_among(self, templates: int | None) -> float | None:
        """The least similarity of a frame that votes, when it is compared with so many templates; None where the data
        support no such set."""
        if self.fmr is None:
            return self.match_threshold
        if templates is None:
            return None
        return fmr.match_threshold(self.fmr, self.match_threshold, templates, self.trials, self.max_fpir)

    def claim_needed(self, templates: int | None, claim: ClaimKind) -> Needed | None:
        """What the payer must say before a face is compared with so many templates; None when nothing is missing."""
        most = self.most_templates
        return None if most is None else fmr.claim_needed(templates, claim, most)
