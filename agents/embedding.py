"""The embedding agent: sealed frames in, recognitions and hints out.

How it works: the frames of a batch are opened and decoded, go through the vision engine together, and the lone faces
among them through one search of the gallery. Then each frame, in order, is one step of its intent's vote
(`pipeline.domain.recognition`). What is new is emitted: a recognition once, keyed by payer; a hint when it changes,
keyed by terminal. Embeddings, similarities of bystanders and pictures stay in this process.

What is kept per intent (the vote, the last face's embedding) is forgotten when the intent has expired or its partition
is taken away. A frame opened again after that is voted on again: ids are derived from intent and payer, or intent,
code and the frame's position, so that a repeat is the same event.

Fail closed: frames too old, of an expired intent, or that come before the gallery was read to its end are dropped and
counted; frames that do not open or decode are rejected with their reason; a failing device ends the process.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from pipeline import metrics
from pipeline.domain.recognition import (
    Advice,
    Answer,
    Candidate,
    Policy,
    Recognised,
    SeenFace,
    Vote,
    advance,
    is_eligible,
)
from pipeline.errors import InvalidMessage, SealError
from pipeline.ports import (
    Clock,
    Emit,
    FrameOpener,
    GallerySearch,
    HandlerResult,
    InMessage,
    Match,
    OpenedFrame,
    Reject,
    Vector,
)
from pipeline.settings import Vision
from pipeline.topics import FRAMES, HINTS, RECOGNITIONS
from pipeline.vision.decode import Image, decode_jpeg
from pipeline.vision.engine import Engine
from pipeline.vision.faces import Face
from pipeline.vision.liveness import FUSED, fused_threshold
from pipeline.vision.thresholds import Thresholds, thresholds
from schemas.codec import encode
from schemas.events import Hint, PaymentTerms, Recognition
from schemas.ids import derived_id

SWEEP_US = 1_000_000
"""How often ended intents are looked for."""


@dataclass(slots=True)
class Memory:
    """What is remembered of one intent."""

    partition: int
    offset: int = -1
    vote: Vote = field(default_factory=Vote)
    last_face: Vector | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame that opened and decoded; `index` is its message's place in the batch."""

    index: int
    message: InMessage
    opened: OpenedFrame
    image: Image = field(repr=False)


class EmbeddingHandler:
    """A `BatchHandler`. `gallery` must hold templates of the engine's embedding model."""

    name = "embedding"

    def __init__(
        self,
        opener: FrameOpener,
        engine: Engine,
        gallery: GallerySearch,
        settings: Vision,
        clock: Clock,
        *,
        source: str = FRAMES,
        recognitions: str = RECOGNITIONS,
        hints: str = HINTS,
    ) -> None:
        self.source = source
        self._recognitions = recognitions
        self._hints = hints
        self._opener = opener
        self._engine = engine
        self._gallery = gallery
        self._settings = settings
        self._clock = clock
        self._policy = policy(settings, thresholds(settings, engine.thresholds))
        # Keyed by all terms, not by the intent's id alone: frames that were sealed for another amount or payee under
        # the same id must not add to one vote.
        self._memories: dict[PaymentTerms, Memory] = {}
        self._next_sweep_us = 0
        for threshold in ("match_threshold", "strong_threshold", "margin"):
            metrics.THRESHOLD.labels(threshold).set(getattr(self._policy, threshold))

    def process(self, messages: Sequence[InMessage]) -> Sequence[HandlerResult]:
        """For each frame what it made new: a recognition, a hint, or nothing."""
        self._sweep()
        results: list[HandlerResult] = [()] * len(messages)
        # Slices bound the pixels held at once, and an intent decided in one needs no compute in the next.
        for start in range(0, len(messages), self._settings.max_batch):
            frames = []
            for index in range(start, min(start + self._settings.max_batch, len(messages))):
                try:
                    frame = self._open(index, messages[index])
                except InvalidMessage as error:
                    results[index] = Reject(error.reason, error.detail)
                    continue
                if frame is not None:
                    frames.append(frame)
            for frame, answer in zip(frames, self._judge(frames), strict=True):
                results[frame.index] = self._emits(frame, answer)
        return results

    def restore(self, partition: int, messages: Sequence[InMessage]) -> None:  # noqa: ARG002 - positions name it
        """Remembers the nonces. Votes are not rebuilt: while the intent is open its cameras send more frames."""
        for message in messages:
            self._opener.remember(message)

    def forget(self, partition: int) -> None:
        """Another instance has the lane now."""
        self._opener.forget(partition)
        self._memories = {terms: kept for terms, kept in self._memories.items() if kept.partition != partition}

    def _open(self, index: int, message: InMessage) -> Frame | None:
        """The picture of a frame that can still matter, or None; raises `InvalidMessage`."""
        now_us = self._clock()
        try:
            with metrics.STAGE.labels("unseal").time():
                opened = self._opener.open(message, now_us)
        except SealError as error:
            if error.reason != "stale":
                raise
            self._count("stale")
            return None
        memory = self._memories.get(opened.terms)
        if now_us > opened.terms.expires_at_us:
            self._count("expired")
        elif not self._gallery.ready:
            self._count("gallery_not_ready")
        elif memory is None or not (memory.vote.closed or message.offset <= memory.offset):
            with metrics.STAGE.labels("decode").time():
                image = decode_jpeg(opened.jpeg, max_pixels=self._settings.max_pixels)
            return Frame(index, message, opened, image)
        return None

    def _count(self, reason: str) -> None:
        metrics.REJECTS.labels(self.name, reason).inc()

    def _judge(self, frames: Sequence[Frame]) -> list[Answer]:
        """What each frame makes new, in order."""
        if not frames:
            return []
        faces = self._engine.faces([frame.image for frame in frames])
        lone = {row: found for row, found in enumerate(map(self._lone, faces)) if found is not None}
        matches: dict[int, Match | None] = {}
        if lone:
            with metrics.STAGE.labels("search").time():
                found = self._gallery.search(np.stack([face.embedding for face in lone.values()]))
            matches = dict(zip(lone, found, strict=True))
        answers = []
        with metrics.STAGE.labels("vote").time():
            for row, frame in enumerate(frames):
                terms, place = frame.opened.terms, frame.message
                memory = self._memories.setdefault(terms, Memory(place.partition))
                seen = [self._seen(face, matches.get(row), memory.last_face) for face in faces[row]]
                memory.vote, answer = advance(memory.vote, seen, self._policy)
                memory.offset = place.offset
                if row in lone:
                    memory.last_face = lone[row].embedding
                answers.append(answer)
        return answers

    def _lone(self, faces: Sequence[Face]) -> Face | None:
        """The only eligible face of a frame: the only one that is searched for."""
        eligible = [face for face in faces if is_eligible(face.box.w, self._policy)]
        return eligible[0] if len(eligible) == 1 else None

    def _seen(self, face: Face, match: Match | None, last: Vector | None) -> SeenFace:
        """A face as the vote sees it: numbers and an id."""
        if not is_eligible(face.box.w, self._policy):
            return SeenFace(width_px=face.box.w)
        live = face.live.get(FUSED) if face.live is not None else None
        if self._settings.pad == "report_only" and (live is None or live < fused_threshold()):
            self._count("not_live_reported")
        return SeenFace(
            width_px=face.box.w,
            candidate=None if match is None else _candidate(match),
            similarity_to_last=None if last is None else float(last @ face.embedding),
            # A score that nothing required is no proof: it must not reach the rules that a proven one would satisfy.
            live=live if self._settings.pad == "required" else None,
        )

    def _emits(self, frame: Frame, answer: Answer) -> Sequence[Emit]:
        if answer is None:
            return ()
        headers = (("traceparent", frame.opened.trace.encode()),)
        if isinstance(answer, Recognised):
            event = self._recognition(frame.opened, answer)
            seconds = (event.recognised_at_us - event.captured_at_us) / 1e6
            metrics.SINCE_CAPTURE.labels("recognition").observe(max(0.0, seconds))
            return (Emit(self._recognitions, event.payer_id.encode(), encode(event), headers),)
        hint = self._hint(frame, answer)
        self._count(answer.code)
        return (Emit(self._hints, hint.terminal_id.encode(), encode(hint), headers),)

    def _recognition(self, opened: OpenedFrame, answer: Recognised) -> Recognition:
        terms = opened.terms
        return Recognition(
            event_id=derived_id(terms.intent_id, "recognition", answer.payer_id),
            terminal_id=terms.terminal_id,
            intent_id=terms.intent_id,
            trace=opened.trace,
            terms=terms,
            payer_id=answer.payer_id,
            # A cosine of equal vectors may come out a rounding above 1, which the schema refuses.
            similarity=max(-1.0, min(1.0, answer.similarity)),
            margin=max(0.0, min(2.0, answer.margin)),
            threshold=self._policy.match_threshold,
            frames_used=answer.frames_used,
            frames_seen=answer.frames_seen,
            gallery_size=self._gallery.size,
            model_sha256=self._engine.embedder_sha256,
            liveness=answer.liveness,
            eyes_open=None,
            captured_at_us=opened.captured_at_us,
            recognised_at_us=self._clock(),
        )

    def _hint(self, frame: Frame, answer: Advice) -> Hint:
        terms, place = frame.opened.terms, frame.message
        return Hint(
            event_id=derived_id(terms.intent_id, "hint", answer.code, str(place.partition), str(place.offset)),
            terminal_id=terms.terminal_id,
            intent_id=terms.intent_id,
            trace=frame.opened.trace,
            code=answer.code,
            final=answer.final,
            hinted_at_us=self._clock(),
        )

    def _sweep(self) -> None:
        """Forgets intents that have expired: their frames are refused from then on."""
        now_us = self._clock()
        if now_us >= self._next_sweep_us:
            self._next_sweep_us = now_us + SWEEP_US
            self._memories = {t: kept for t, kept in self._memories.items() if t.expires_at_us >= now_us}


def _candidate(match: Match) -> Candidate:
    return Candidate(payer_id=match.payer_id, similarity=match.similarity, runner_up=match.runner_up)


def policy(settings: Vision, limits: Thresholds) -> Policy:
    """The vote's rules out of the settings; thresholds stand in the models' manifest."""
    return Policy(
        match_threshold=limits.match,
        strong_threshold=limits.strong,
        margin=limits.margin,
        same_face=limits.same_face,
        votes=settings.votes,
        min_face_px=settings.min_face_px,
        patience=settings.patience,
        max_attempts=settings.max_attempts,
        live_threshold=fused_threshold() if settings.pad == "required" else None,
    )
