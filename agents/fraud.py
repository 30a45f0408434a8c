"""The fraud agent: recognitions in, verdicts out, the same verdict however often it is asked.

How it works: a batch is decoded, the histories of its payers are read in one round trip, the pure rules judge each
recognition, and verdicts and histories are kept in a second round trip, each pair in one atomic step keyed by payer and
intent (`agents.risk_state`). A recognition judged before gets the bytes it got before. Records of one payer in one
batch see each other: each is judged on the history that the one before it left.

Fail closed: without the store (down, slow, changed under us again and again) the rules judge an empty history and the
least is a step-up with reason `risk_state_unavailable`; a store that lost its data is a step-up with
`risk_state_cold` until the histories are filled again. What was sent without the store is written to it when it is
back, so that a later replay repeats it.

A recognition whose intent has expired gets no verdict and is counted.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from agents.risk_state import Known, Mode, RiskState, Write
from pipeline import metrics
from pipeline.domain import risk
from pipeline.domain.features import (
    History,
    Windows,
    decode_history,
    encode_history,
    features,
    features_sha256,
    with_use,
)
from pipeline.errors import DecodeError, InvalidMessage, RedisUnavailable
from pipeline.ports import Clock, Emit, HandlerResult, InMessage, Reject
from pipeline.settings import Risk
from pipeline.topics import RECOGNITIONS, VERDICTS
from schemas.codec import decode, encode, sha256_hex
from schemas.events import Recognition, Verdict
from schemas.ids import derived_id

ATTEMPTS = 4
"""How often a batch is judged again because another writer (an outcome) changed a history meanwhile."""
OWED = 10_000
"""How many verdicts sent without the store are remembered, for replays and for when it is back."""


@dataclass(frozen=True, slots=True)
class Case:
    """One recognition of a batch; `fixed` is the verdict it was given while the store was away."""

    recognition: Recognition
    sha256: str
    fixed: bytes | None = None

    @property
    def key(self) -> tuple[str, str]:
        """Payer and intent."""
        return self.recognition.payer_id, self.recognition.intent_id


class FraudHandler:
    """A `BatchHandler`. `on_cold` is called when the store turns out to have lost its data."""

    name = "fraud"

    def __init__(
        self,
        state: RiskState,
        settings: Risk,
        clock: Clock,
        *,
        on_cold: Callable[[], None] = lambda: None,
        source: str = RECOGNITIONS,
        target: str = VERDICTS,
    ) -> None:
        self.source = source
        self._target = target
        self._state = state
        self._clock = clock
        self._on_cold = on_cold
        self._windows = windows(settings)
        self._policy = policy(settings)
        self._owed: OrderedDict[tuple[str, str], Case] = OrderedDict()

    def process(self, messages: Sequence[InMessage]) -> Sequence[HandlerResult]:
        """A verdict for each recognition, nothing for an expired one, `Reject` for what is none."""
        results: list[HandlerResult] = [()] * len(messages)
        cases: dict[int, Case] = {}
        for index, message in enumerate(messages):
            try:
                case = _case(message)
            except InvalidMessage as error:
                results[index] = Reject(error.reason, error.detail)
                continue
            if self._clock() >= case.recognition.terms.expires_at_us:
                metrics.REJECTS.labels(self.name, "expired").inc()
                continue
            cases[index] = case
        with metrics.STAGE.labels("verdict").time():
            verdicts = self._judge(list(cases.values()))
        for (index, case), verdict in zip(cases.items(), verdicts, strict=True):
            results[index] = (self._emit(case, verdict),)
        return results

    def restore(self, partition: int, messages: Sequence[InMessage]) -> None:
        """Nothing: what must be remembered is in Redis."""

    def forget(self, partition: int) -> None:
        """Nothing: what must be remembered is in Redis."""

    def _judge(self, cases: Sequence[Case]) -> list[bytes]:
        """One verdict's bytes for each case, kept in the store if it can be."""
        verdicts: list[bytes | None] = [self._already_owed(case) for case in cases]
        waiting = [index for index, verdict in enumerate(verdicts) if verdict is None]
        try:
            for _ in range(ATTEMPTS):
                if not waiting:
                    break
                for index, verdict in zip(waiting, self._attempt([cases[i] for i in waiting]), strict=True):
                    verdicts[index] = verdict
                waiting = [index for index in waiting if verdicts[index] is None]
            if self._owed:
                self._pay()
        except RedisUnavailable:
            pass  # counted where it was raised; what is missing below is judged without a history
        return [verdict or self._judge_alone(case) for case, verdict in zip(cases, verdicts, strict=True)]

    def _attempt(self, cases: Sequence[Case]) -> list[bytes | None]:
        """Reads, judges and keeps; None where the history changed in between. Raises `RedisUnavailable`."""
        warm, known = self._state.read([case.key for case in cases])
        if not warm:
            self._on_cold()
        verdicts: list[bytes | None] = [found.verdict for found in known]
        missing = None if warm else risk.STATE_COLD
        steps: dict[int, Write] = {}
        latest: dict[str, tuple[int, History]] = {}
        for index, (case, found) in enumerate(zip(cases, known, strict=True)):
            if found.verdict is not None and case.fixed is None:
                continue
            payer_id, intent_id = case.key
            version, history, reason = self._history(latest.get(payer_id), found, missing)
            after = with_use(history, case.recognition, self._windows)
            latest[payer_id] = version + 1, after
            verdict = case.fixed or self._verdict(case, history, reason)
            mode = Mode.VERDICT if case.fixed is None else Mode.REPLACE
            steps[index] = Write(payer_id, intent_id, version, encode_history(after), verdict, mode)
        for (index, step), written in zip(steps.items(), self._state.write(list(steps.values())), strict=True):
            verdicts[index] = step.verdict if written.kept else written.stored
        return verdicts

    @staticmethod
    def _history(
        latest: tuple[int, History] | None, found: Known, missing: str | None
    ) -> tuple[int, History, str | None]:
        """The history to judge on and its version; one that cannot be read counts as unavailable and is begun anew."""
        if latest is not None:
            return *latest, missing
        try:
            return found.version, decode_history(found.history), missing
        except InvalidMessage:
            return found.version, History(), risk.STATE_UNAVAILABLE

    def _judge_alone(self, case: Case) -> bytes:
        """A verdict without the store, remembered until the store is back."""
        verdict = self._verdict(case, History(), risk.STATE_UNAVAILABLE)
        self._owed[case.key] = Case(case.recognition, case.sha256, verdict)
        if len(self._owed) > OWED:
            self._owed.popitem(last=False)
        return verdict

    def _already_owed(self, case: Case) -> bytes | None:
        owed = self._owed.get(case.key)
        return owed.fixed if owed is not None else None

    def _pay(self) -> None:
        """Writes what was sent without the store; what is stale stays owed until the next batch."""
        owed = list(self._owed.values())[:256]
        for case, verdict in zip(owed, self._attempt(owed), strict=True):
            if verdict is not None:
                del self._owed[case.key]

    def _verdict(self, case: Case, history: History, missing: str | None) -> bytes:
        """The bytes of the verdict on one recognition, given the history before it."""
        recognition = case.recognition
        values = features(history, recognition, self._windows)
        judgement = risk.judge(values, self._policy, missing=missing)
        return encode(
            Verdict(
                event_id=derived_id(recognition.intent_id, "verdict"),
                terminal_id=recognition.terminal_id,
                intent_id=recognition.intent_id,
                trace=recognition.trace,
                terms=recognition.terms,
                payer_id=recognition.payer_id,
                decision=judgement.decision,
                methods=judgement.methods,
                reasons=judgement.reasons,
                score=judgement.score,
                policy_version=self._policy.version,
                features_sha256=features_sha256(values),
                recognition_sha256=case.sha256,
                captured_at_us=recognition.captured_at_us,
                decided_at_us=self._clock(),
            )
        )

    def _emit(self, case: Case, verdict: bytes) -> Emit:
        event = decode(verdict, Verdict)
        metrics.VERDICTS.labels(event.decision).inc()
        for reason in event.reasons:
            metrics.VERDICT_REASONS.labels(reason).inc()
        metrics.SINCE_CAPTURE.labels("verdict").observe(max(0, self._clock() - event.captured_at_us) / 1e6)
        return Emit(
            topic=self._target,
            key=case.recognition.terminal_id.encode(),
            value=verdict,
            headers=(("traceparent", event.trace.encode()),),
        )


def windows(settings: Risk) -> Windows:
    """The features' parameters out of the settings."""
    return Windows(
        velocity_us=settings.velocity_window_s * 1_000_000,
        history_us=settings.history_days * 86_400_000_000,
        night_hours_utc=settings.night_hours_utc,
    )


def policy(settings: Risk) -> risk.Policy:
    """The rules' limits out of the settings."""
    return risk.Policy(
        unproven_liveness=settings.unproven_liveness,
        unknown_eyes=settings.unknown_eyes,
        step_up_minor=settings.step_up_minor,
        decline_minor=settings.decline_minor,
        night_step_up_minor=settings.night_step_up_minor,
        velocity_count=settings.velocity_count,
        velocity_decline_count=settings.velocity_decline_count,
        thin_margin=settings.thin_margin,
    )


def _case(message: InMessage) -> Case:
    """The recognition in a record; raises `InvalidMessage`."""
    recognition = decode(message.value, Recognition)
    if message.key != recognition.payer_id.encode():
        raise DecodeError("wrong_key", "the record's key is not the payer's id")
    terms = recognition.terms
    if (terms.intent_id, terms.terminal_id) != (recognition.intent_id, recognition.terminal_id):
        raise DecodeError("terms_mismatch", "the terms name another intent or terminal than the event")
    return Case(recognition, sha256_hex(message.value or b""))
