"""Who stands before a terminal? The vote over the frames of one payment intent, and when to say nothing.

Theory of operation. Each frame of an intent is one observation: the camera that saw it, when, the faces in it, and for
a lone face in the payer's zone large enough to judge (an eligible face) the best payer of the gallery. `advance` folds
observations into a `Vote` and answers with `Recognised`, with `Advice` for the person, or with None when there is
nothing new to say.

- Exactly one eligible face may vote; faces outside the zone are bystanders. Two never decide anything, on whichever
  camera of the lane they are seen: the terminal cannot know whose payment it is.
- Each camera has an attempt of its own: the frames of one track (`tracks`). When the track changes, the vote starts
  again; frames of two tracks or two cameras are never added up. Cameras that vote for different payers decide nothing.
- A frame casts a ballot when it passes every gate itself: seen well enough (`quality`), eyes not closed, live enough
  where that is required, no picture that the camera has shown before, similar to a payer and clearly ahead of every
  other. A frame that fails one says so, and adds nothing.
- Ballots count by their weight, at most 1 each. `votes` ballots with three quarters of that weight decide, and so does
  one ballot at the strong threshold. Where liveness is required, that of all judged frames of the attempt together
  (`liveness`) must reach its threshold too. Frames that vote for two payers in one attempt decide nothing: such a face
  resembles both, and a guess could charge the wrong one.
- An attempt fails after `patience` judged frames, `refusal_patience` refused ones or, over the intent, `max_repeated`
  repeated pictures, and further frames of this face are not asked again. A change of face gives up an attempt, which
  counts as failed. After `max_attempts` failed attempts on all cameras the face is closed for this intent and the
  person pays by PIN: nobody can hold a row of faces before the cameras. So it is, too, after as many judged frames
  as all attempts together have, however often they began again.
- The match threshold rises with the number of templates that a face is compared with (`fmr`), so that a stranger's
  whole transaction finds somebody at most at the rate that the policy allows. Where the data behind the thresholds
  support no such set, nothing votes: the person is asked for a claim that makes it smaller, or for the PIN.

Similarities are cosines; thresholds belong to the embedding model and stand in its manifest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from pipeline.domain import tracks
from pipeline.domain.fmr import Needed
from pipeline.domain.liveness import fuse
from pipeline.domain.observed import Candidate, Frame, SeenFace
from pipeline.domain.policy import Policy
from pipeline.domain.quality import quality, refusal, weight
from pipeline.domain.tracks import Track

__all__ = [
    "Advice", "AdviceCode", "Answer", "Attempt", "Ballot", "Candidate", "Eye", "Frame", "Policy", "Recognised",
    "SeenFace", "Vote", "advance", "identifiable", "is_eligible", "lone",
]  # fmt: skip

AdviceCode = Literal[
    "come_closer", "one_person_please", "look_here", "open_eyes", "better_light", "hold_still", "not_recognised",
    "enter_last_four", "enter_number", "use_pin", "too_many_attempts",
]  # fmt: skip
_ASKS: Mapping[Needed, AdviceCode] = {
    "last_four": "enter_last_four",
    "full_number": "enter_number",
    "pin": "use_pin",
}

FULL_SHARE = 0.75
"""Of `votes` full weights, what ballots must weigh together: two faces seen well, or three seen badly, for two
votes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recognised:
    """A decision. Similarity, margin and quality are those of the weakest frame that voted, `threshold` what each had
    to reach; `liveness` is that of all judged frames of the attempt, None if one had none; `eyes_open` is True when
    every voting frame showed open eyes. `lookalike`: somebody enrolled looks too much like this payer."""

    payer_id: str
    camera: str
    similarity: float
    threshold: float
    margin: float
    quality: float
    frames_used: int
    frames_seen: int
    liveness: float | None
    eyes_open: bool | None
    lookalike: bool = False


@dataclass(frozen=True, slots=True)
class Advice:
    """What the person should do; `final` means that more frames of this face will not help."""

    code: AdviceCode
    final: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ballot:
    """One frame's vote; `threshold` is what it had to reach."""

    payer_id: str
    similarity: float
    threshold: float
    margin: float
    quality: float
    eyes_open: bool | None
    lookalike: bool = False

    @property
    def weight(self) -> float:
        """What it counts, at most 1."""
        return weight(self.quality)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One camera's frames of one track. `lives`: liveness (None where it has none) and weight of each judged frame."""

    track: Track | None = None
    judged: int = 0
    refused: int = 0
    ballots: tuple[Ballot, ...] = ()
    lives: tuple[tuple[float | None, float], ...] = ()
    unclear: bool = False
    spent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Eye:
    """What is remembered of one camera: its attempt, and when it last saw a lone eligible face or several."""

    attempt: Attempt = field(default_factory=Attempt)
    lone_at_us: int | None = None
    crowd_at_us: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """What is remembered of an intent: no picture, no embedding. `judged` frames of all attempts, also of those that
    began again."""

    frames_seen: int = 0
    judged: int = 0
    repeated: int = 0
    failed_attempts: int = 0
    closed: bool = False
    said: Advice | None = None
    eyes: Mapping[str, Eye] = field(default_factory=dict)
    """By camera."""


Answer = Recognised | Advice | None
_Step = tuple[Vote, Answer]


def is_eligible(face: SeenFace, policy: Policy) -> bool:
    """Whether a face stands in the payer's zone and is large enough to judge; others are bystanders."""
    return face.in_zone and face.place.w >= policy.min_face_px


def lone(faces: Sequence[SeenFace], policy: Policy) -> int | None:
    """The place in `faces` of the only eligible one; None when there is none, or more than one."""
    eligible = [index for index, face in enumerate(faces) if is_eligible(face, policy)]
    return eligible[0] if len(eligible) == 1 else None


def identifiable(face: SeenFace, policy: Policy) -> bool:
    """Whether a face is seen well enough for its embedding to mean anything."""
    return refusal(face.look, policy.limits) is None


def advance(vote: Vote, frame: Frame, policy: Policy) -> _Step:
    """The vote after one more frame, and what is new to say. A closed vote stays as it is and says nothing."""
    if vote.closed:
        return vote, None
    vote = replace(vote, frames_seen=vote.frames_seen + 1)
    eye = vote.eyes.get(frame.camera, Eye())
    eligible = [face for face in frame.faces if is_eligible(face, policy)]
    if not eligible:
        vote = _seen(vote, frame, replace(eye, lone_at_us=None, crowd_at_us=None))
        if _any_recent(vote, frame, policy, "lone_at_us"):
            return vote, None
        return _say(vote, Advice("come_closer" if any(face.in_zone for face in frame.faces) else "look_here"))
    if len(eligible) > 1:
        attempt = replace(eye.attempt, judged=0, refused=0, ballots=(), lives=(), unclear=False)
        eye = replace(eye, attempt=attempt, lone_at_us=None, crowd_at_us=frame.at_us)
        return _say(_seen(vote, frame, eye), Advice("one_person_please"))
    vote = _seen(vote, frame, replace(eye, lone_at_us=frame.at_us, crowd_at_us=None))
    return _look_at(vote, frame, eligible[0], policy)


def _look_at(vote: Vote, frame: Frame, face: SeenFace, policy: Policy) -> _Step:
    """One more frame of a lone eligible face: whose track it is, and whether it may be judged."""
    attempt = vote.eyes[frame.camera].attempt
    if frame.templates is not None and (needed := policy.claim_needed(frame.templates, frame.claim)) is not None:
        return _ask(vote, needed)
    if frame.repeated:
        return _repeat(vote, frame, policy)
    why = refusal(face.look, policy.limits)
    if why is not None:
        if attempt.track is not None:
            moved = tracks.moved(attempt.track, face.place, frame.at_us, policy.continuity)
            vote = _with(vote, frame, replace(attempt, track=moved))
        return _refuse(vote, frame, Advice(why), policy)
    track = attempt.track
    if track is not None and not tracks.same_face(
        track, face.place, frame.at_us, face.similarity_to_last, policy.continuity,
        near=policy.same_face, far=policy.match_threshold,
    ):  # fmt: skip
        given_up = 0 if attempt.spent or attempt.judged == 0 else 1
        attempt = Attempt()
        vote = replace(vote, failed_attempts=vote.failed_attempts + given_up)
    vote = _with(vote, frame, replace(attempt, track=Track(place=face.place, at_us=frame.at_us)))
    if vote.failed_attempts >= policy.max_attempts:
        return _say(replace(vote, closed=True), Advice("too_many_attempts", final=True))
    if face.eyes_open is False:
        return _refuse(vote, frame, Advice("open_eyes"), policy)
    return _judge(vote, frame, face, policy)


def _judge(vote: Vote, frame: Frame, face: SeenFace, policy: Policy) -> _Step:
    """One more frame that passed quality and eyes."""
    attempt = vote.eyes[frame.camera].attempt
    if attempt.spent:
        return vote, None
    threshold = policy.threshold_among(frame.templates)
    if threshold is None:
        return _ask(vote, policy.claim_needed(frame.templates, frame.claim) or "pin")
    if vote.judged >= policy.trials.comparisons(1):
        return _say(replace(vote, closed=True), Advice("too_many_attempts", final=True))
    vote = replace(vote, judged=vote.judged + 1)
    ballot = _ballot(face, policy, threshold)
    ballots = attempt.ballots if ballot is None else (*attempt.ballots, ballot)
    ambiguous = len({b.payer_id for b in ballots}) > 1
    attempt = replace(
        attempt,
        judged=attempt.judged + 1,
        ballots=ballots,
        lives=(*attempt.lives, (face.live, weight(quality(face.look, policy.limits)))),
        unclear=attempt.unclear or ambiguous or (ballot is None and _matches(face, threshold)),
    )
    vote = _with(vote, frame, attempt)
    if ballots and not ambiguous and _enough(ballots, policy) and _alive(attempt, policy):
        if not _contradicted(vote, frame, policy):
            return replace(vote, closed=True), _recognised(vote, frame)
        attempt = replace(attempt, unclear=True)
        vote = _with(vote, frame, attempt)
        if attempt.judged < policy.patience:
            return _say(vote, Advice("one_person_please"))
    if attempt.judged >= policy.patience:
        return _fail(vote, frame, policy)
    return (vote, None) if ballot is not None else _say(vote, Advice("hold_still"))


def _ask(vote: Vote, needed: Needed) -> _Step:
    """Too many templates for a face: nothing comes of this intent without what is asked for. A claim may still arrive
    with another camera's frames; beyond the PIN there is nothing to wait for."""
    return _say(replace(vote, closed=vote.closed or needed == "pin"), Advice(_ASKS[needed], final=True))


def _matches(face: SeenFace, threshold: float) -> bool:
    return face.candidate is not None and face.candidate.similarity >= threshold


def _ballot(face: SeenFace, policy: Policy, threshold: float) -> Ballot | None:
    """The vote of a frame that passed quality and eyes, if it has one: similar enough, clearly ahead, and live where
    that is required."""
    candidate = face.candidate
    if candidate is None or not _matches(face, threshold) or not candidate.margin >= policy.margin:
        return None
    if policy.live_threshold is not None and not (face.live is not None and face.live >= policy.live_floor):
        return None
    return Ballot(
        payer_id=candidate.payer_id,
        similarity=candidate.similarity,
        threshold=threshold,
        margin=candidate.margin,
        quality=quality(face.look, policy.limits),
        eyes_open=face.eyes_open,
        lookalike=candidate.lookalike,
    )


def _enough(ballots: Sequence[Ballot], policy: Policy) -> bool:
    if any(ballot.similarity >= policy.strong_threshold for ballot in ballots):
        return True
    return len(ballots) >= policy.votes and sum(b.weight for b in ballots) >= FULL_SHARE * policy.votes


def _alive(attempt: Attempt, policy: Policy) -> bool:
    """Whether the attempt is live enough, where that is required."""
    if policy.live_threshold is None:
        return True
    live = _liveness(attempt)
    return live is not None and live >= policy.live_threshold


def _liveness(attempt: Attempt) -> float | None:
    scored = [(live, heavy) for live, heavy in attempt.lives if live is not None]
    # One frame without a score leaves the whole unproven.
    return fuse(scored) if len(scored) == len(attempt.lives) else None


def _contradicted(vote: Vote, frame: Frame, policy: Policy) -> bool:
    """Whether another camera of the lane sees several people, or votes for somebody else."""
    payers = {ballot.payer_id for eye in vote.eyes.values() for ballot in eye.attempt.ballots}
    return len(payers) > 1 or _any_recent(vote, frame, policy, "crowd_at_us")


def _any_recent(vote: Vote, frame: Frame, policy: Policy, what: Literal["lone_at_us", "crowd_at_us"]) -> bool:
    """Whether another camera saw such a thing within `crowd_us` of this frame, and nothing else since."""
    times = [getattr(eye, what) for camera, eye in vote.eyes.items() if camera != frame.camera]
    return any(at_us is not None and abs(frame.at_us - at_us) <= policy.crowd_us for at_us in times)


def _recognised(vote: Vote, frame: Frame) -> Recognised:
    attempt = vote.eyes[frame.camera].attempt
    ballots = attempt.ballots
    return Recognised(
        payer_id=ballots[0].payer_id,
        camera=frame.camera,
        similarity=min(ballot.similarity for ballot in ballots),
        threshold=max(ballot.threshold for ballot in ballots),
        margin=min(ballot.margin for ballot in ballots),
        quality=min(ballot.quality for ballot in ballots),
        frames_used=len(ballots),
        frames_seen=vote.frames_seen,
        liveness=_liveness(attempt),
        eyes_open=True if all(ballot.eyes_open is True for ballot in ballots) else None,
        lookalike=any(ballot.lookalike for ballot in ballots),
    )


def _repeat(vote: Vote, frame: Frame, policy: Policy) -> _Step:
    """A picture that the camera has shown before: somebody feeds it."""
    vote = replace(vote, repeated=vote.repeated + 1)
    if vote.eyes[frame.camera].attempt.spent:
        return vote, None
    if vote.repeated >= policy.max_repeated:
        return _fail(replace(vote, repeated=0), frame, policy, Advice("use_pin", final=True))
    return _say(vote, Advice("look_here"))


def _refuse(vote: Vote, frame: Frame, why: Advice, policy: Policy) -> _Step:
    """A frame that may not be judged."""
    attempt = vote.eyes[frame.camera].attempt
    if attempt.spent:
        return vote, None
    attempt = replace(attempt, refused=attempt.refused + 1)
    vote = _with(vote, frame, attempt)
    if attempt.refused >= policy.refusal_patience:
        return _fail(vote, frame, policy, Advice("use_pin", final=True))
    return _say(vote, why)


def _fail(vote: Vote, frame: Frame, policy: Policy, why: Advice | None = None) -> _Step:
    """The attempt is over without a decision."""
    attempt = vote.eyes[frame.camera].attempt
    vote = _with(vote, frame, replace(attempt, spent=True, ballots=(), lives=()))
    vote = replace(vote, failed_attempts=vote.failed_attempts + 1)
    if vote.failed_attempts >= policy.max_attempts:
        return _say(replace(vote, closed=True), Advice("too_many_attempts", final=True))
    return _say(vote, why or Advice("use_pin" if attempt.unclear else "not_recognised", final=True))


def _seen(vote: Vote, frame: Frame, eye: Eye) -> Vote:
    return replace(vote, eyes={**vote.eyes, frame.camera: eye})


def _with(vote: Vote, frame: Frame, attempt: Attempt) -> Vote:
    """The vote with another attempt of the frame's camera."""
    return _seen(vote, frame, replace(vote.eyes[frame.camera], attempt=attempt))


def _say(vote: Vote, advice: Advice) -> _Step:
    """Advice is given when it changes, not with every frame."""
    if advice == vote.said:
        return vote, None
    return replace(vote, said=advice), advice
