"""Refreshing a payer's template after a payment: the face is remembered until the settlement, and judged then.

`recognised` keeps the embedding of a recognition in memory, for as long as its intent may take and for a bounded number
of intents; `settled` hears what became of the intent and, where `domain.ageing` lets it, writes the payer's adaptive
template: one per payer by its id, which derives from the payer alone, sealed like any other and noted in the journal.
The enrolled templates stay as they are. How like the enrolled pictures payers still look, the embedding agent observes
with each recognition (`metrics.TO_ENROLLED`): that is how drift is watched.

No process of this project runs it. An embedding agent that did would need what only enrolment has, the right to write
the gallery and the journal, and the gain is unknown until somebody has years of payments to measure it on: see
docs/decisions/009-templates-are-not-refreshed-by-default.md.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

import numpy as np
from confluent_kafka import Producer

from pipeline import metrics
from pipeline.domain.ageing import Refresh, Refusal, Success, refusal
from pipeline.errors import DataKeyError
from pipeline.gallery.index import ExactIndex
from pipeline.gallery.journal import Deed, Journal
from pipeline.gallery.protect.transform import Transform
from pipeline.gallery.records import write
from pipeline.gallery.templates import seal_template
from pipeline.keys.keyring import Keyring
from pipeline.ports import Clock, DataKeys, Vector
from pipeline.topics import GALLERY
from schemas.events import Recognition, Settlement
from schemas.ids import derived_id

LATE_US = 60_000_000
"""How long after an intent's end its settlement may come."""

Outcome = Refusal | str
"""`refreshed`, why not, or `unknown` for an intent that is not remembered (any more)."""


def adaptive_id(payer_id: str) -> str:
    """The id of the payer's adaptive template: there is one, and a new one takes its place."""
    return derived_id(payer_id, "adaptive_template")


@dataclass(frozen=True, slots=True, eq=False)
class _Candidate:
    recognition: Recognition
    embedding: Vector = field(repr=False)


class Refresher:
    """One caller at a time. `index` and `space` are those of the process's gallery."""

    def __init__(
        self,
        rule: Refresh,
        index: ExactIndex,
        space: Transform,
        keyring: Keyring,
        data_keys: DataKeys,
        producer: Producer,
        journal: Journal,
        clock: Clock,
        *,
        max_waiting: int = 1_000,
        topic: str = GALLERY,
    ) -> None:
        self._rule = rule
        self._index = index
        self._space = space
        self._keyring = keyring
        self._data_keys = data_keys
        self._producer = producer
        self._journal = journal
        self._clock = clock
        self._max_waiting = max_waiting
        self._topic = topic
        self._waiting: OrderedDict[str, _Candidate] = OrderedDict()

    def recognised(self, recognition: Recognition, embedding: Vector) -> None:
        """Remembers the face of a recognition, float32 (d,), in clear, in this process's memory alone."""
        self._waiting[recognition.intent_id] = _Candidate(recognition, embedding)
        now_us = self._clock()
        for intent_id, waiting in list(self._waiting.items()):
            young = waiting.recognition.terms.expires_at_us > now_us - LATE_US
            if young and len(self._waiting) <= self._max_waiting:
                break  # the oldest one is young enough, and so are those after it
            del self._waiting[intent_id]

    def settled(self, settlement: Settlement) -> Outcome:
        """What became of an intent; writes the adaptive template where the rule lets it. Raises `KafkaUnavailable`."""
        if settlement.outcome in {"refunded", "refund_refused"}:
            return "unknown"
        candidate = self._waiting.pop(settlement.intent_id, None)
        if candidate is None or settlement.payer_id != candidate.recognition.payer_id:
            return "unknown"
        success = self._success(candidate, settlement)
        why = refusal(success, self._rule)
        outcome = why if why is not None else self._write(candidate)
        metrics.REFRESHES.labels(outcome).inc()
        return outcome

    def _success(self, candidate: _Candidate, settlement: Settlement) -> Success:
        seen = candidate.recognition
        adaptive = adaptive_id(seen.payer_id)
        probe = self._space.apply(candidate.embedding)
        cosines = {name: float(probe @ vector) for name, vector in self._index.templates_of(seen.payer_id)}
        enrolled = [cosine for name, cosine in cosines.items() if name != adaptive]
        noted = [n.entry for n in self._journal.chain(seen.payer_id) if n.entry.what == "template_refreshed"]
        return Success(
            method=settlement.method if settlement.outcome == "settled" else None,
            similarity=seen.similarity,
            margin=seen.margin,
            quality=seen.quality,
            liveness_proven=seen.liveness_proven,
            eyes_open=seen.eyes_open,
            lookalike=seen.lookalike,
            to_enrolled=max(enrolled, default=-1.0),
            to_adaptive=cosines.get(adaptive),
            since_refresh_us=self._clock() - noted[-1].at_us if noted else None,
        )

    def _write(self, candidate: _Candidate) -> str:
        seen, now_us = candidate.recognition, self._clock()
        try:
            template = seal_template(
                self._keyring,
                self._data_keys,
                payer_id=seen.payer_id,
                vector=np.asarray(candidate.embedding, np.float32),
                model_sha256=seen.model_sha256,
                now_us=now_us,
                name=adaptive_id(seen.payer_id),
            )
        except DataKeyError:
            return "payer_erased"
        write(self._producer, self._topic, [(template.template_id, template)], attempt="refreshing a template")
        deed = Deed(what="template_refreshed", once=seen.intent_id, templates=1, model_sha256=seen.model_sha256)
        self._journal.append(seen.payer_id, lambda _: [deed])
        return "refreshed"
