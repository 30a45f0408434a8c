"""What the embedding agent remembers of open intents, and how faces become one step of an intent's vote.

`Votes` holds, per intent, the vote (`pipeline.domain.recognition`) and for each of its cameras the embedding of the
last face that was seen well enough to compare; per camera and across intents, fingerprints of its last pictures
(`pipeline.vision.copies`). Nothing of it leaves the process. `looks` says what each face of a frame is to the vote,
`claims` which claim stands for it, `step` takes the vote one frame further. What only reports (`pad`, `eyes`,
`repeated_frames` set to `report_only`) is counted here and reaches no rule.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from pipeline.domain.claims import looked_for_elsewhere
from pipeline.domain.recognition import Answer, Candidate, Policy, SeenFace, Vote, advance, identifiable, lone
from pipeline.domain.recognition import Frame as Observation
from pipeline.domain.tracks import Place
from pipeline.domain.zones import in_zone
from pipeline.errors import ModelError
from pipeline.keys.claims import Claim
from pipeline.keys.devices import Camera
from pipeline.ports import InMessage, Match, OpenedFrame, Vector
from pipeline.settings import Vision
from pipeline.vision.copies import Fingerprint, RecentPictures
from pipeline.vision.decode import Image
from pipeline.vision.engine import Engine
from pipeline.vision.faces import Face
from pipeline.vision.liveness import FUSED
from pipeline.vision.thresholds import look, quality_limits, thresholds
from schemas.events import ClaimKind, PaymentTerms

Cameras = Callable[[str], Camera | None]
"""Finds a camera of the registry by its name (`DeviceRegistry.get`)."""


@dataclass(slots=True)
class Memory:
    """What is remembered of one intent; `last_faces` by camera, `claim` the one that its ballots were cast under."""

    partition: int
    offset: int = -1
    claim: Claim | None = None
    vote: Vote = field(default_factory=Vote)
    last_faces: dict[str, Vector] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame that opened and decoded; `index` is its message's place in the batch, `claim` what it says itself."""

    index: int
    message: InMessage
    opened: OpenedFrame
    image: Image = field(repr=False)
    claim: Claim | None = field(default=None, repr=False)
    fingerprint: Fingerprint | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Looks:
    """What the vote sees of a frame's faces. `lone`: the place of the only eligible one; `wanted`: whether who it is
    matters, so that it is searched for."""

    faces: Sequence[SeenFace]
    lone: int | None
    wanted: bool


@dataclass(frozen=True, slots=True)
class Searched:
    """How a frame's lone face was looked for: under which claim, among how many payers and templates, and who was
    found."""

    claim: Claim | None
    payers: int
    templates: int
    match: Match | None = None

    @property
    def claimed(self) -> ClaimKind:
        """What the payer has claimed."""
        return "none" if self.claim is None else self.claim.kind


class Votes:
    """The votes of one process. One caller at a time."""

    def __init__(
        self,
        rules: Policy,
        settings: Vision,
        live_threshold: float | None,
        cameras: Cameras,
        count: Callable[[str], None],
    ) -> None:
        """`live_threshold` is the engine's, for what is only reported; `count` notes a reason."""
        self.policy = rules
        self._settings = settings
        self._live_threshold = live_threshold
        self._cameras = cameras
        self._count = count
        self._recent = RecentPictures()
        # Keyed by all terms, not by the intent's id alone: frames that were sealed for another amount or payee under
        # the same id must not add to one vote.
        self.memories: dict[PaymentTerms, Memory] = {}

    def wants(self, terms: PaymentTerms, message: InMessage) -> bool:
        """Whether the frame can still matter: its intent is undecided, and it was not voted on before."""
        memory = self.memories.get(terms)
        return memory is None or not (memory.vote.closed or message.offset <= memory.offset)

    def forget(self, partition: int) -> None:
        """Another instance has the lane now."""
        self.memories = {terms: kept for terms, kept in self.memories.items() if kept.partition != partition}
        self._recent.forget(partition)

    def forget_ended(self, now_us: int) -> None:
        """Intents that have expired: their frames are refused from then on."""
        self.memories = {terms: kept for terms, kept in self.memories.items() if terms.expires_at_us >= now_us}

    def looks(self, frame: Frame, faces: Sequence[Face]) -> Looks:
        """The faces of a frame, without who they resemble."""
        camera = self._cameras(frame.opened.camera)
        zone = camera.zone if camera is not None else ()
        height, width = frame.image.shape[:2]
        seen = []
        for face in faces:
            box = face.box
            inside = in_zone(zone, (box.x + box.w / 2) / width, (box.y + box.h / 2) / height)
            seen.append(SeenFace(place=Place(box.x, box.y, box.w, box.h), look=look(face), in_zone=inside))
        alone = lone(seen, self.policy)
        wanted = alone is not None and identifiable(seen[alone], self.policy) and self._eyes(faces[alone]) is not False
        return Looks(seen, alone, wanted)

    def claims(self, frames: Sequence[Frame]) -> list[Claim | None]:
        """The claim that stands for each of these frames, in order: its own, else the newest of its intent."""
        newest: dict[PaymentTerms, Claim | None] = {}
        for terms in {frame.opened.terms for frame in frames}:
            memory = self.memories.get(terms)
            newest[terms] = None if memory is None else memory.claim
        standing = []
        for frame in frames:
            claim = newest[frame.opened.terms] = frame.claim or newest[frame.opened.terms]
            standing.append(claim)
        return standing

    def step(self, frame: Frame, looks: Looks, faces: Sequence[Face], searched: Searched) -> Answer:
        """The vote of the frame's intent, one frame further."""
        terms, camera, match = frame.opened.terms, frame.opened.camera, searched.match
        memory = self.memories.setdefault(terms, Memory(frame.message.partition, claim=searched.claim))
        if memory.claim != searched.claim:
            memory.claim, memory.vote = searched.claim, looked_for_elsewhere(memory.vote)
        seen, repeated = list(looks.faces), False
        if looks.lone is not None and not memory.vote.closed:
            face = faces[looks.lone]
            repeated = self._repeated(frame, face)
            last = memory.last_faces.get(camera)
            seen[looks.lone] = replace(
                seen[looks.lone],
                candidate=None if match is None else _candidate(match),
                similarity_to_last=None if last is None else float(last @ face.embedding),
                live=self._live(face),
                eyes_open=self._eyes(face),
            )
            if not repeated and identifiable(seen[looks.lone], self.policy):
                memory.last_faces[camera] = face.embedding
        observed = Observation(
            camera=camera,
            at_us=frame.opened.captured_at_us,
            faces=seen,
            repeated=repeated,
            templates=searched.templates,
            claim=searched.claimed,
        )
        memory.vote, answer = advance(memory.vote, observed, self.policy)
        memory.offset = frame.message.offset
        return answer

    def _repeated(self, frame: Frame, face: Face) -> bool:
        """Whether the camera has shown the picture before, where that is refused."""
        if frame.fingerprint is None:
            return False
        camera = f"{frame.opened.terms.terminal_id}/{frame.opened.camera}"
        if not self._recent.seen_before(frame.message.partition, camera, frame.fingerprint, face.box):
            return False
        self._count("repeated_frame")
        return self._settings.repeated_frames == "refuse"

    def _live(self, face: Face) -> float | None:
        live = face.live.get(FUSED) if face.live is not None else None
        if self._settings.pad == "report_only":
            limit = self._live_threshold
            if live is None or limit is None or not live >= limit:
                self._count("not_live_reported")
        return live

    def _eyes(self, face: Face) -> bool | None:
        return face.eyes_open if self._settings.eyes == "judge" else None


def policy(settings: Vision, engine: Engine) -> Policy:
    """The vote's rules out of the settings; thresholds stand in the manifest of the engine's models.

    Raises `ModelError` where liveness is required and the engine has no threshold for it.
    """
    limits = thresholds(settings, engine.thresholds)
    if settings.pad == "required" and engine.live_threshold is None:
        raise ModelError(
            "requiring liveness (vision.pad): the models in use have no fused score with a threshold; add the liveness "
            "models that `facepay models list` names"
        )
    return Policy(
        match_threshold=limits.match,
        strong_threshold=limits.strong,
        margin=limits.margin,
        same_face=limits.same_face,
        votes=settings.votes,
        min_face_px=settings.min_face_px,
        limits=quality_limits(settings),
        patience=settings.patience,
        refusal_patience=settings.refusal_patience,
        max_attempts=settings.max_attempts,
        max_repeated=settings.max_repeated_frames,
        live_threshold=engine.live_threshold if settings.pad == "required" else None,
        live_floor=settings.live_floor,
        fmr=engine.fmr,
        max_fpir=settings.max_fpir,
    )


def _candidate(match: Match) -> Candidate:
    return Candidate(
        payer_id=match.payer_id,
        similarity=match.similarity,
        runner_up=match.runner_up,
        lookalike=match.lookalike,
    )
