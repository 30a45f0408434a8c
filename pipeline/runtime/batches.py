"""What both at-least-once loops do with a batch, so that they cannot differ: count it, and turn results into records.

A result that says `Reject` becomes a dead letter in the place of what the record would have led to; its neighbours keep
theirs. The order of what is sent is the order of the records.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline import metrics
from pipeline.ports import Clock, Emit, HandlerResult, InMessage, Reject
from pipeline.runtime.deadletters import DeadLetters


class Batches:
    """The records of one agent from one topic, on their way in and out."""

    def __init__(self, agent: str, source: str, dead: DeadLetters, clock: Clock) -> None:
        self._agent = agent
        self._dead = dead
        self._clock = clock
        self._consumed = metrics.CONSUMED.labels(agent, source)
        self._sizes = metrics.BATCH.labels(agent)
        self._waits = metrics.QUEUE_WAIT.labels(agent)

    def taken(self, messages: Sequence[InMessage]) -> None:
        """A batch goes to the handler: how many records, and how long each has waited since its timestamp."""
        now_us = self._clock()
        self._consumed.inc(len(messages))
        self._sizes.observe(len(messages))
        for message in messages:
            self._waits.observe(max(0, now_us - message.timestamp_us) / 1e6)

    def outcome(self, messages: Sequence[InMessage], results: Sequence[HandlerResult]) -> list[Emit]:
        """What to send for a batch, in order; raises `ValueError` when there is not one result for each record."""
        emits: list[Emit] = []
        for message, result in zip(messages, results, strict=True):
            if isinstance(result, Reject):
                metrics.DEAD.labels(self._agent, result.reason).inc()
                emits.append(self._dead.emit(message, result.reason, result.detail, self._clock()))
            else:
                emits.extend(result)
        return emits

    def confirmed(self, emits: Sequence[Emit]) -> None:
        """Every one of `emits` is on Kafka."""
        for emit in emits:
            metrics.EMITTED.labels(self._agent, emit.topic).inc()
