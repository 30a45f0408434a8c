"""The embedding agent: sealed frames in, recognitions and hints out.

How it works, in two steps (`ports.PreparingHandler`). `prepare` opens and decodes a batch and takes fingerprints of
its pictures; the loop runs it ahead, while the models are busy with an earlier batch. `process_prepared` takes the
frames that still matter through the vision engine together, and the lone faces among them through one search of the
gallery: each among everybody or, where the payer has said who they are, among those who may be meant (`Claims`). Then
each frame, in order, is one step of its intent's vote (`agents.embedding_vote`, `pipeline.domain.recognition`). What is
new is emitted: a recognition once, keyed by payer; a hint when it changes, keyed by terminal. Embeddings, similarities
of bystanders and pictures stay in this process.

What is kept per intent is forgotten when the intent has expired or its partition is taken away. A frame opened again
after that is voted on again: ids are derived from intent and payer, or intent, code and the frame's position, so that a
repeat is the same event. Nonces belong to `prepare` alone, in the order of the records: the same nonce at the same
position opens again, anywhere else it is a replay.

Fail closed: frames too old, of an expired intent, or that come before the gallery was read to its end are dropped and
counted; frames that do not open or decode are rejected with their reason; a failing device ends the process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import structlog

from agents.embedding_vote import Cameras, Frame, Searched, Votes, policy
from pipeline import metrics
from pipeline.domain.recognition import Advice, Answer, Recognised
from pipeline.errors import InvalidMessage, SealError
from pipeline.keys.claims import Claim
from pipeline.ports import (
    Clock,
    Emit,
    FrameOpener,
    HandlerResult,
    InMessage,
    Match,
    OpenedFrame,
    PayerSearch,
    Reject,
    Vector,
)
from pipeline.settings import Vision
from pipeline.topics import FRAMES, HINTS, RECOGNITIONS
from pipeline.vision.copies import fingerprint
from pipeline.vision.decode import decode_jpeg
from pipeline.vision.engine import Engine
from schemas.codec import encode
from schemas.events import Hint, PaymentTerms, Recognition
from schemas.ids import derived_id

log = structlog.get_logger(__name__)

SWEEP_US = 1_000_000
"""How often ended intents are looked for."""


LIVENESS_TESTED = frozenset({"rgb"})
"""Modalities that presentation-attack detection was tested on; pictures of any other prove nothing."""

Prepared = Frame | Reject | None
"""A frame that opened and decoded, why it did not, or None for one that is dropped."""


class Claims(Protocol):
    """What claims say (`pipeline.gallery.claims.ClaimedPayers`)."""

    def read(self, terms: PaymentTerms, sealed: str) -> Claim:
        """The claim of that intent; raises `SealError` `claim_broken`."""
        ...

    def among(self, claim: Claim) -> frozenset[str]:
        """The payers that it may mean."""
        ...


class EmbeddingHandler:
    """A `PreparingHandler`. `gallery` must hold templates of the engine's embedding model; `cameras` finds a camera of
    the registry by its name: its zone and modality are taken from there.

    Raises `ModelError` where the settings ask for what the engine's models cannot do.
    """

    name = "embedding"

    def __init__(
        self,
        opener: FrameOpener,
        engine: Engine,
        gallery: PayerSearch,
        settings: Vision,
        clock: Clock,
        *,
        cameras: Cameras,
        claims: Claims,
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
        self._cameras = cameras
        self._claims = claims
        self._votes = Votes(policy(settings, engine), settings, engine.live_threshold, cameras, self._count)
        self._next_sweep_us = 0
        _announce(settings, self._votes)

    def process(self, messages: Sequence[InMessage]) -> Sequence[HandlerResult]:
        """For each frame what it made new: a recognition, a hint, or nothing."""
        return self.process_prepared(messages, self.prepare(messages))

    def prepare(self, messages: Sequence[InMessage]) -> Sequence[Prepared]:
        """Each frame opened and decoded. Remembers nonces; votes are only looked at, to decode nothing in vain."""
        prepared: list[Prepared] = []
        for index, message in enumerate(messages):
            try:
                prepared.append(self._open(index, message))
            except InvalidMessage as error:
                prepared.append(Reject(error.reason, error.detail))
        return prepared

    def process_prepared(self, messages: Sequence[InMessage], prepared: Sequence[Prepared]) -> Sequence[HandlerResult]:
        """As `process`, of what `prepare` made of the same messages."""
        self._sweep()
        results: list[HandlerResult] = [each if isinstance(each, Reject) else () for each in prepared]
        # Slices bound what the engine holds at once, and an intent decided in one needs no compute in the next.
        for start in range(0, len(messages), self._settings.max_batch):
            some = prepared[start : start + self._settings.max_batch]
            frames = [each for each in some if isinstance(each, Frame) and self._matters(each)]
            for frame, (searched, answer) in zip(frames, self._judge(frames), strict=True):
                results[frame.index] = self._emits(frame, searched, answer)
        return results

    def restore(self, partition: int, messages: Sequence[InMessage]) -> None:  # noqa: ARG002 - positions name it
        """Remembers the nonces. Votes are not rebuilt: while the intent is open its cameras send more frames."""
        for message in messages:
            self._opener.remember(message)

    def forget(self, partition: int) -> None:
        """Another instance has the lane now."""
        self._opener.forget(partition)
        self._votes.forget(partition)

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
        if now_us > opened.terms.expires_at_us:
            self._count("expired")
        elif not self._gallery.ready:
            self._count("gallery_not_ready")
        elif self._votes.wants(opened.terms, message):
            claim = None if opened.claim is None else self._claims.read(opened.terms, opened.claim)
            with metrics.STAGE.labels("decode").time():
                image = decode_jpeg(opened.jpeg, max_pixels=self._settings.max_pixels)
            if self._settings.repeated_frames == "off":
                return Frame(index, message, opened, image, claim)
            with metrics.STAGE.labels("fingerprint").time():
                return Frame(index, message, opened, image, claim, fingerprint(image, opened.jpeg))
        return None

    def _matters(self, frame: Frame) -> bool:
        """Whether a frame prepared some time ago can still matter."""
        if self._clock() > frame.opened.terms.expires_at_us:
            self._count("expired")
            return False
        return self._votes.wants(frame.opened.terms, frame.message)

    def _count(self, reason: str) -> None:
        metrics.REJECTS.labels(self.name, reason).inc()

    def _judge(self, frames: Sequence[Frame]) -> list[tuple[Searched, Answer]]:
        """How the face of each frame was looked for, and what the frame makes new, in order."""
        if not frames:
            return []
        faces = self._engine.faces([frame.image for frame in frames])
        looks = [self._votes.looks(frame, found) for frame, found in zip(frames, faces, strict=True)]
        wanted = {row: faces[row][look.lone] for row, look in enumerate(looks) if look.wanted and look.lone is not None}
        searched = self._search(self._votes.claims(frames), {row: face.embedding for row, face in wanted.items()})
        with metrics.STAGE.labels("vote").time():
            answers = [
                self._votes.step(frame, looks[row], faces[row], searched[row]) for row, frame in enumerate(frames)
            ]
        return list(zip(searched, answers, strict=True))

    def _search(self, claims: Sequence[Claim | None], probes: Mapping[int, Vector]) -> list[Searched]:
        """Who the face of each frame is, if it is one of `probes`, by the frame's place in `claims`."""
        among = [None if claim is None else self._claims.among(claim) for claim in claims]
        matches: dict[int, Match | None] = {}
        if probes:
            with metrics.STAGE.labels("search").time():
                found = self._gallery.search(np.stack([*probes.values()]), [among[row] for row in probes])
            matches = dict(zip(probes, found, strict=True))
        gallery = self._gallery
        everybody = gallery.payers, gallery.size
        return [
            Searched(claim, *(everybody if meant is None else (len(meant), gallery.size_of(meant))), matches.get(row))
            for row, (claim, meant) in enumerate(zip(claims, among, strict=True))
        ]

    def _emits(self, frame: Frame, searched: Searched, answer: Answer) -> Sequence[Emit]:
        if answer is None:
            return ()
        headers = (("traceparent", frame.opened.trace.encode()),)
        if isinstance(answer, Recognised):
            event = self._recognition(frame.opened, searched, answer)
            self._gallery.offer(event.payer_id)
            seconds = (event.recognised_at_us - event.captured_at_us) / 1e6
            metrics.SINCE_CAPTURE.labels("recognition").observe(max(0.0, seconds))
            metrics.TO_ENROLLED.observe(event.similarity)
            return (Emit(self._recognitions, event.payer_id.encode(), encode(event), headers),)
        hint = self._hint(frame, answer)
        self._count(answer.code)
        return (Emit(self._hints, hint.terminal_id.encode(), encode(hint), headers),)

    def _recognition(self, opened: OpenedFrame, searched: Searched, answer: Recognised) -> Recognition:
        terms = opened.terms
        camera = self._cameras(answer.camera)
        modality = camera.modality if camera is not None else None
        proven = self._settings.pad == "required" and self._engine.live_proven and modality in LIVENESS_TESTED
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
            threshold=answer.threshold,
            frames_used=answer.frames_used,
            frames_seen=answer.frames_seen,
            gallery_size=self._gallery.size,
            model_sha256=self._engine.embedder_sha256,
            liveness=answer.liveness,
            liveness_proven=proven and answer.liveness is not None,
            eyes_open=answer.eyes_open,
            modality=modality,
            quality=answer.quality,
            claim=searched.claimed,
            candidates=searched.payers,
            lookalike=answer.lookalike,
            searched=None if searched.match is None else searched.match.searched,
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
            self._votes.forget_ended(now_us)


def _announce(settings: Vision, votes: Votes) -> None:
    """Says which thresholds and guards are in force, aloud where one only reports."""
    for name in ("match_threshold", "strong_threshold", "margin"):
        metrics.THRESHOLD.labels(name).set(getattr(votes.policy, name))
    if votes.policy.most_templates is not None:
        metrics.SUPPORTED_TEMPLATES.set(votes.policy.most_templates)
    guards = {
        "liveness": settings.pad == "required",
        "eyes": settings.eyes == "judge",
        "repeated_frames": settings.repeated_frames == "refuse",
    }
    for guard, decides in guards.items():
        metrics.FACE_GUARD.labels(guard).set(decides)
        if not decides:
            log.warning("guard_does_not_decide", guard=guard)
