"""What the vote is told of a frame: the camera, the faces, whom the only eligible one resembles, and among how many.

Pure data; `recognition` says what follows from it. Similarities are cosines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.domain.quality import Look
from pipeline.domain.tracks import Place
from schemas.events import ClaimKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """The best payer of the gallery for a face, and the similarity of the best other payer (-1 if there is none).
    `lookalike`: another enrolled payer looks too much like this one."""

    payer_id: str
    similarity: float
    runner_up: float
    lookalike: bool = False

    @property
    def margin(self) -> float:
        """How far the best payer leads: 0 to 2."""
        return max(0.0, self.similarity - self.runner_up)


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenFace:
    """One face of a frame. All but `place` and `in_zone` matter for a lone eligible face only.

    `similarity_to_last` compares it with the camera's last face that was `identifiable`; None when it is the first.
    `eyes_open` is None when nothing can tell.
    """

    place: Place
    look: Look
    in_zone: bool = True
    candidate: Candidate | None = None
    similarity_to_last: float | None = None
    live: float | None = None
    eyes_open: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What one camera saw at one moment. `repeated`: it has shown this picture before. `templates` is with how many the
    search compares a face, given what the payer claims (`claim`); None when nobody knows, which is too many wherever
    the policy limits them."""

    camera: str
    at_us: int
    faces: Sequence[SeenFace]
    repeated: bool = False
    templates: int | None = None
    claim: ClaimKind = "none"
