"""Who stands before a terminal? The vote over the frames of one payment intent, and when to say nothing.

Theory of operation. Each frame of an intent is one observation: the faces in it, and for a lone face large enough to
judge (an eligible face) the best payer of the gallery. `advance` folds observations into a `Vote` and answers with
`Recognised`, with `Advice` for the person, or with None when there is nothing new to say.

- Exactly one eligible face may vote. Two never decide anything: the terminal cannot know whose payment it is.
- A frame votes for a payer when the similarity reaches the match threshold and leads that of every other payer by the
  margin. `votes` frames for one payer decide, and so does one frame at the strong threshold. Frames that vote for two
  payers in one attempt decide nothing: such a face resembles both, and a guess could charge the wrong one.
- An attempt is a run of frames of one face. When the face changes, the vote starts again. After `patience` frames
  without a decision the attempt has failed, and further frames of this face are not asked again.
- A change of face gives up an attempt, which counts as failed. After `max_attempts` failed attempts the face is closed
  for this intent and the person pays by PIN: nobody can hold a row of faces before the camera.

Similarities are cosines; thresholds belong to the embedding model and stand in its manifest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

AdviceCode = Literal[
    "come_closer", "one_person_please", "look_here", "hold_still", "not_recognised", "use_pin", "too_many_attempts"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """When a face decides. Cosines but for `min_face_px` (width of the box), `votes`, `patience` and `max_attempts`."""

    match_threshold: float
    strong_threshold: float
    margin: float
    votes: int
    min_face_px: int
    patience: int = 6
    max_attempts: int = 5
    same_face: float = 0.36
    """Below this similarity to the frame before, another face stands there (FMR 1e-3: a wrong "same" only costs a vote
    for a face that would have to match the same payer anyway)."""
    live_threshold: float | None = None
    """Least liveness of a frame that votes; None when liveness is not required."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """The best payer of the gallery for a face, and the similarity of the best other payer (-1 if there is none)."""

    payer_id: str
    similarity: float
    runner_up: float

    @property
    def margin(self) -> float:
        """How far the best payer leads: 0 to 2."""
        return max(0.0, self.similarity - self.runner_up)


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenFace:
    """One face of a frame. `candidate` and `similarity_to_last` matter for a lone eligible face only.

    `similarity_to_last` compares it with the lone eligible face seen before in this intent; None when it is the first.
    """

    width_px: float
    candidate: Candidate | None = None
    similarity_to_last: float | None = None
    live: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recognised:
    """A decision. Similarity, margin and liveness are those of the weakest frame that voted."""

    payer_id: str
    similarity: float
    margin: float
    frames_used: int
    frames_seen: int
    liveness: float | None


@dataclass(frozen=True, slots=True)
class Advice:
    """What the person should do; `final` means that more frames of this face will not help."""

    code: AdviceCode
    final: bool = False


@dataclass(frozen=True, slots=True)
class Ballot:
    """One frame's vote."""

    payer_id: str
    similarity: float
    margin: float
    live: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """What is remembered of an intent: no picture, no embedding."""

    frames_seen: int = 0
    attempt_frames: int = 0
    ballots: tuple[Ballot, ...] = ()
    unclear: bool = False
    spent: bool = False
    failed_attempts: int = 0
    closed: bool = False
    said: Advice | None = None


Answer = Recognised | Advice | None


def is_eligible(width_px: float, policy: Policy) -> bool:
    """Whether a face is large enough to judge; smaller ones are bystanders and are told to come closer when alone."""
    return width_px >= policy.min_face_px


def advance(vote: Vote, faces: Sequence[SeenFace], policy: Policy) -> tuple[Vote, Answer]:
    """The vote after one more frame, and what is new to say. A closed vote stays as it is and says nothing."""
    if vote.closed:
        return vote, None
    vote = replace(vote, frames_seen=vote.frames_seen + 1)
    eligible = [face for face in faces if is_eligible(face.width_px, policy)]
    if not eligible:
        return _say(vote, Advice("come_closer" if faces else "look_here"))
    if len(eligible) > 1:
        vote = replace(vote, attempt_frames=0, ballots=(), unclear=False)
        return _say(vote, Advice("one_person_please"))
    return _judge(vote, eligible[0], policy)


def _judge(vote: Vote, face: SeenFace, policy: Policy) -> tuple[Vote, Answer]:
    """One more frame of a lone eligible face."""
    if face.similarity_to_last is not None and face.similarity_to_last < policy.same_face:
        given_up = 0 if vote.spent or vote.attempt_frames == 0 else 1
        vote = replace(vote, attempt_frames=0, ballots=(), unclear=False, spent=False)
        vote = replace(vote, failed_attempts=vote.failed_attempts + given_up)
        if vote.failed_attempts >= policy.max_attempts:
            return _say(replace(vote, closed=True), Advice("too_many_attempts", final=True))
    if vote.spent:
        return vote, None
    ballot = _ballot(face, policy)
    ballots = vote.ballots if ballot is None else (*vote.ballots, ballot)
    ambiguous = len({b.payer_id for b in ballots}) > 1
    unclear = vote.unclear or ambiguous or (ballot is None and _matches(face, policy))
    vote = replace(vote, attempt_frames=vote.attempt_frames + 1, ballots=ballots, unclear=unclear)
    if ballots and not ambiguous and _decides(ballots, policy):
        return replace(vote, closed=True), _recognised(vote)
    if vote.attempt_frames >= policy.patience:
        return _fail(vote, policy)
    return (vote, None) if ballot is not None else _say(vote, Advice("hold_still"))


def _matches(face: SeenFace, policy: Policy) -> bool:
    return face.candidate is not None and face.candidate.similarity >= policy.match_threshold


def _ballot(face: SeenFace, policy: Policy) -> Ballot | None:
    """The frame's vote, if it has one: similar enough, clearly ahead, and live where that is required."""
    candidate = face.candidate
    if candidate is None or not _matches(face, policy) or candidate.margin < policy.margin:
        return None
    if policy.live_threshold is not None and not (face.live is not None and face.live >= policy.live_threshold):
        return None
    return Ballot(candidate.payer_id, candidate.similarity, candidate.margin, face.live)


def _decides(ballots: Sequence[Ballot], policy: Policy) -> bool:
    return len(ballots) >= policy.votes or any(b.similarity >= policy.strong_threshold for b in ballots)


def _recognised(vote: Vote) -> Recognised:
    lives = [ballot.live for ballot in vote.ballots if ballot.live is not None]
    return Recognised(
        payer_id=vote.ballots[0].payer_id,
        similarity=min(ballot.similarity for ballot in vote.ballots),
        margin=min(ballot.margin for ballot in vote.ballots),
        frames_used=len(vote.ballots),
        frames_seen=vote.frames_seen,
        # One frame without a score leaves the whole unproven.
        liveness=min(lives) if len(lives) == len(vote.ballots) else None,
    )


def _fail(vote: Vote, policy: Policy) -> tuple[Vote, Answer]:
    """The attempt is over without a decision."""
    vote = replace(vote, failed_attempts=vote.failed_attempts + 1, spent=True, ballots=())
    if vote.failed_attempts >= policy.max_attempts:
        return _say(replace(vote, closed=True), Advice("too_many_attempts", final=True))
    return _say(vote, Advice("use_pin" if vote.unclear else "not_recognised", final=True))


def _say(vote: Vote, advice: Advice) -> tuple[Vote, Answer]:
    """Advice is given when it changes, not with every frame."""
    if advice == vote.said:
        return vote, None
    return replace(vote, said=advice), advice
