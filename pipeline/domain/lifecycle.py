"""The lifecycle of an intent: a table of transitions and one pure function that decides over it.

Theory of operation: `decide(intent, input, now_us)` first looks at the deadline, then at the rule of (state, input),
and checks each step it takes against `TRANSITIONS`, so that the table, not the code's paths, says what can happen.
Inputs come in any order and any number of times; what keeps the promises:

* every rule starts with the deadline: a live intent at or past `expires_at_us` expires, whatever the input was, so
  nothing is settled at or after it; while AUTHORISING it is voided first;
* a final state has no transition to another state, so there is one outcome; `Effect.ANNOUNCE` goes with reaching it;
* the first verdict binds the payer: another payer's verdict declines before an outcome and alerts after settlement.
  A later verdict for the same payer can only be stricter (a decline); a more lenient one is ignored;
* two topics race: a verdict before its command is parked, a confirmation before its verdict is held on the intent;
* a confirmation whose MAC does not hold, or that names another verdict or payer, is ignored and counted: whoever
  can write a forged record must not be able to end somebody's payment. The intent goes on until its deadline;
* an intent with a `lane_seq` at or below the highest its terminal has shown is older than what the terminal wants
  now, and is declined as superseded even when the newer one has ended: the answer depends on no timer.

Source: shared design, architecture.md, "Lifecycle of an intent"; the form follows python-hyper/h11.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from pipeline.domain.intents import (
    FINAL,
    Answered,
    Cancellation,
    Confirmation,
    Decision,
    Effect,
    HintNoted,
    Input,
    Intent,
    Judgement,
    Method,
    Opening,
    RefundAsked,
    RefundDecision,
    State,
    Superseded,
    Tick,
)

_OPEN, _AWAITING, _AUTHORISING = State.OPEN, State.AWAITING_CONFIRMATION, State.AUTHORISING
_SETTLED, _DECLINED, _EXPIRED, _CANCELLED = State.SETTLED, State.DECLINED, State.EXPIRED, State.CANCELLED

START = frozenset({_OPEN, _DECLINED, _EXPIRED})
"""The states in which `Opening` can leave a new intent."""


def _stay(state: State, *others: State) -> frozenset[State]:
    return frozenset({state, *others})


_ENDED: Mapping[State, Mapping[type[Input], frozenset[State]]] = {
    state: {
        kind: _stay(state)
        for kind in (
            Opening, Judgement, Confirmation, Cancellation, Superseded, HintNoted, Answered, RefundAsked, Tick,
        )
    }
    for state in FINAL
}  # fmt: skip

TRANSITIONS: Mapping[State, Mapping[type[Input], frozenset[State]]] = MappingProxyType(
    {
        _OPEN: {
            Opening: _stay(_OPEN, _EXPIRED),
            Judgement: frozenset({_AWAITING, _AUTHORISING, _DECLINED, _EXPIRED}),
            Confirmation: _stay(_OPEN, _EXPIRED),
            Cancellation: frozenset({_CANCELLED, _EXPIRED}),
            Superseded: frozenset({_CANCELLED, _EXPIRED}),
            HintNoted: _stay(_OPEN, _EXPIRED),
            Answered: _stay(_OPEN, _EXPIRED),
            RefundAsked: _stay(_OPEN, _EXPIRED),
            Tick: _stay(_OPEN, _EXPIRED),
        },
        _AWAITING: {
            Opening: _stay(_AWAITING, _EXPIRED),
            Judgement: _stay(_AWAITING, _DECLINED, _EXPIRED),
            Confirmation: _stay(_AWAITING, _AUTHORISING, _EXPIRED),
            Cancellation: frozenset({_CANCELLED, _EXPIRED}),
            Superseded: frozenset({_CANCELLED, _EXPIRED}),
            HintNoted: _stay(_AWAITING, _EXPIRED),
            Answered: _stay(_AWAITING, _EXPIRED),
            RefundAsked: _stay(_AWAITING, _EXPIRED),
            Tick: _stay(_AWAITING, _EXPIRED),
        },
        _AUTHORISING: {
            Opening: _stay(_AUTHORISING, _EXPIRED),
            Judgement: _stay(_AUTHORISING, _DECLINED, _EXPIRED),
            Confirmation: _stay(_AUTHORISING, _EXPIRED),
            Cancellation: _stay(_AUTHORISING, _EXPIRED),
            Superseded: _stay(_AUTHORISING, _EXPIRED),
            HintNoted: _stay(_AUTHORISING, _EXPIRED),
            Answered: frozenset({_SETTLED, _DECLINED, _EXPIRED}),
            RefundAsked: _stay(_AUTHORISING, _EXPIRED),
            Tick: _stay(_AUTHORISING, _EXPIRED),
        },
        **_ENDED,
    }
)


class ImpossibleTransition(AssertionError):
    """A rule took a step that the table does not have: our own fault, nothing may be written."""


def open_intent(opening: Opening, now_us: int) -> Decision:
    """A new intent: results in order of precedence are expired, `superseded`, `duplicate_order`, open."""
    intent = Intent(
        terms=opening.terms,
        lane_seq=opening.lane_seq,
        merchant_order_id=opening.merchant_order_id,
        trace=opening.trace,
        command_sha256=opening.command_sha256,
        state=_OPEN,
    )
    if now_us >= opening.terms.expires_at_us:
        return _end(intent, _EXPIRED, ("deadline_passed",), now_us)
    if opening.lane_seq <= opening.newest_lane_seq:
        return _end(intent, _DECLINED, ("superseded",), now_us)
    if opening.order_taken:
        return _end(intent, _DECLINED, ("duplicate_order",), now_us)
    return Decision(intent)


def decide(intent: Intent | None, happened: Input, now_us: int) -> Decision:
    """What follows from `happened` at `now_us` by the clock that decides; raises `ImpossibleTransition` on our fault.

    An unknown intent (None) is made by `Opening`, has its verdicts parked, and ignores anything else: commands are in
    order, so what comes before the opening has none.
    """
    if intent is None:
        return _before_opening(happened, now_us)
    decision = _due(intent, happened, now_us) if intent.live and now_us >= intent.terms.expires_at_us else None
    if decision is None:
        decision = _rule(intent, happened, now_us)
    after = decision.intent
    if after is None or after.state not in TRANSITIONS[intent.state][type(happened)]:
        raise ImpossibleTransition(f"{intent.state} does not go to {after and after.state} on {type(happened)}")
    return decision


def _before_opening(happened: Input, now_us: int) -> Decision:
    if isinstance(happened, Opening):
        decision = open_intent(happened, now_us)
        if decision.intent is None or decision.intent.state not in START:
            raise ImpossibleTransition("an intent starts open, declined or expired")
        return decision
    if isinstance(happened, Judgement):
        if now_us >= happened.terms.expires_at_us:
            return Decision(None, note="parked_expired")
        return Decision(None, (Effect.PARK,))
    return Decision(None, note="unknown_intent")


def _due(intent: Intent, happened: Input, now_us: int) -> Decision:
    """The deadline has passed: expiry comes first, then whatever `happened` still means to an expired intent."""
    void = (Effect.VOID,) if intent.state is _AUTHORISING else ()
    expired = _end(intent, _EXPIRED, (intent.last_hint or "deadline_passed",), now_us, *void)
    if expired.intent is None or isinstance(happened, Tick):
        return expired
    after = _ended(expired.intent, happened)
    return replace(expired, note=after.note, refund=after.refund)


def _rule(intent: Intent, happened: Input, now_us: int) -> Decision:
    if not intent.live:
        return _ended(intent, happened)
    match happened:
        case Judgement():
            return _judged(intent, happened, now_us)
        case Confirmation():
            return _confirmed(intent, happened)
        case Cancellation(reason):
            return _cancelled(intent, reason, "cancel_too_late", now_us)
        case Superseded():
            return _cancelled(intent, "superseded", "supersede_too_late", now_us)
        case HintNoted(code):
            return Decision(replace(intent, last_hint=code))
        case Answered(refusal):
            return _answered(intent, refusal, now_us)
        case RefundAsked():
            return _refund(intent, happened)
        case Opening():
            return Decision(intent, note=_repeat_of(intent, happened))
        case Tick():
            return Decision(intent)


def _judged(intent: Intent, verdict: Judgement, now_us: int) -> Decision:
    if intent.bound is not None:
        return _judged_again(intent, intent.bound, verdict, now_us)
    if verdict.terms != intent.terms:
        # Nobody agreed to these terms, so nobody is bound; the verdict is kept as evidence of the refusal.
        return _end(replace(intent, bound=verdict), _DECLINED, ("terms_mismatch",), now_us)
    if verdict.decision == "approve":
        return _authorise(intent, "face", verdict, None)
    bound = replace(intent, bound=verdict, held=None)
    if verdict.decision == "decline":
        return _end(bound, _DECLINED, verdict.reasons or ("declined",), now_us)
    if not verdict.methods:
        return _end(bound, _DECLINED, ("no_method",), now_us)
    if intent.held is not None and _fits(intent.held, verdict):
        return _authorise(intent, "face_pin", verdict, intent.held.confirmation_sha256)
    return Decision(replace(bound, state=_AWAITING))


def _judged_again(intent: Intent, bound: Judgement, verdict: Judgement, now_us: int) -> Decision:
    """A second verdict before the outcome: only one that refuses has a say."""
    void = (Effect.VOID,) if intent.state is _AUTHORISING else ()
    if verdict.payer_id != bound.payer_id:
        return _end(intent, _DECLINED, ("payer_conflict",), now_us, *void)
    if verdict.terms != intent.terms:
        return _end(intent, _DECLINED, ("terms_mismatch",), now_us, *void)
    if verdict.decision == "decline":
        return _end(intent, _DECLINED, verdict.reasons or ("declined",), now_us, *void)
    return Decision(intent, note="verdict_repeated")


def _confirmed(intent: Intent, confirmation: Confirmation) -> Decision:
    if not confirmation.mac_ok:
        return Decision(intent, note="bad_mac")
    if intent.state is _OPEN:
        return Decision(replace(intent, held=confirmation))
    if intent.state is _AUTHORISING:
        return Decision(intent, note="confirmation_repeated")
    if intent.bound is None or not _fits(confirmation, intent.bound):
        return Decision(intent, note="confirmation_mismatch")
    return _authorise(intent, "face_pin", intent.bound, confirmation.confirmation_sha256)


def _cancelled(intent: Intent, reason: str, too_late: str, now_us: int) -> Decision:
    """Money that has been asked for is not the terminal's to call back: its answer or the deadline ends it."""
    if intent.state is _AUTHORISING:
        return Decision(intent, note=too_late)
    return _end(intent, _CANCELLED, (reason,), now_us)


def _answered(intent: Intent, refusal: str | None, now_us: int) -> Decision:
    if intent.state is not _AUTHORISING:
        return Decision(intent, (Effect.ALERT,), "answer_not_asked_for")
    if refusal is None:
        return _end(intent, _SETTLED, (), now_us)
    return _end(intent, _DECLINED, (refusal,), now_us)


def _fits(confirmation: Confirmation, verdict: Judgement) -> bool:
    return (
        confirmation.verdict_id == verdict.verdict_id
        and confirmation.payer_id == verdict.payer_id
        and confirmation.method in verdict.methods
    )


def _authorise(intent: Intent, method: Method, bound: Judgement, confirmation_sha256: str | None) -> Decision:
    asking = replace(
        intent, state=_AUTHORISING, method=method, bound=bound, confirmation_sha256=confirmation_sha256, held=None
    )
    return Decision(asking, (Effect.POST,))


def _ended(intent: Intent, happened: Input) -> Decision:
    """An intent with an outcome: nothing changes it, but refunds of a settled one and what a person should see."""
    if isinstance(happened, RefundAsked):
        return _refund(intent, happened)
    if isinstance(happened, Opening):
        return Decision(intent, note=_repeat_of(intent, happened))
    if isinstance(happened, Answered):
        return Decision(intent, (Effect.ALERT,), "answer_after_outcome")
    if (
        isinstance(happened, Judgement)
        and intent.state is _SETTLED
        and intent.bound is not None
        and happened.payer_id != intent.bound.payer_id
    ):
        return Decision(intent, (Effect.ALERT,), "payer_conflict_after_settlement")
    return Decision(intent, note=None if isinstance(happened, (Tick, HintNoted)) else "after_outcome")


def _refund(intent: Intent, asked: RefundAsked) -> Decision:
    """Results in order of precedence: `not_settled`, `currency_differs`, `exceeds_settled`, refunded.

    The caller answers a repeated `refund_id` itself: it has the list of them.
    """
    refused: str | None = None
    if intent.state is not _SETTLED:
        refused = "not_settled"
    elif asked.currency != intent.terms.currency:
        refused = "currency_differs"
    elif intent.refunded_minor + asked.amount_minor > intent.terms.amount_minor:
        refused = "exceeds_settled"
    after = intent if refused else replace(intent, refunded_minor=intent.refunded_minor + asked.amount_minor)
    return Decision(after, refund=RefundDecision(asked.refund_id, asked.amount_minor, refused))


def _repeat_of(intent: Intent, opening: Opening) -> str:
    """The first command with an id stands; a second with other terms is counted apart: no gateway does that."""
    return "command_repeated" if opening.terms == intent.terms else "intent_id_reused"


def _end(intent: Intent, state: State, reasons: tuple[str, ...], now_us: int, *effects: Effect) -> Decision:
    ended = replace(intent, state=state, reasons=reasons, decided_at_us=now_us, held=None)
    return Decision(ended, (*effects, Effect.ANNOUNCE))
