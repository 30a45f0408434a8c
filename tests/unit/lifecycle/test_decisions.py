"""The lifecycle as a table: a row per case, the state before, what happened, when; the expected result last."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest

from pipeline.domain import lifecycle
from pipeline.domain.intents import FINAL, Answered, Decision, Effect, Input, Intent, State, Tick
from pipeline.domain.lifecycle import START, TRANSITIONS, ImpossibleTransition, decide
from tests.unit.lifecycle.values import (
    ALICE,
    APPROVE,
    AUTHORISING,
    AWAITING,
    BOB,
    CANCEL,
    CANCELLED,
    DEADLINE_US,
    DECLINE,
    DECLINED,
    EXPIRED,
    HINT,
    IN_TIME_US,
    OPEN,
    SETTLED,
    STATES,
    STEP_UP,
    SUPERSEDE,
    confirmed,
    judged,
    opening,
    other_terms,
    refund,
)

HELD = replace(OPEN, held=confirmed())
HINTED = replace(OPEN, last_hint="one_person_please")
YES, NO = Answered(None), Answered("limit_exceeded")
POST, ANNOUNCE, VOID, ALERT, PARK = Effect.POST, Effect.ANNOUNCE, Effect.VOID, Effect.ALERT, Effect.PARK

# before, happened, now_us, -> state after, effects, reasons of the outcome, note
BOBS, LESS = judged("approve", BOB), other_terms(amount_minor=1)
LONGER, CONFLICT = other_terms(expires_at_us=DEADLINE_US + 1), "payer_conflict_after_settlement"
S, NOW, LATE, WAITING = State, IN_TIME_US, DEADLINE_US, State.AWAITING_CONFIRMATION
END, PASSED, OTHER = (ANNOUNCE,), ("deadline_passed",), ("terms_mismatch",)

ROWS: list[tuple[str, Intent | None, Input, int, State | None, tuple[Effect, ...], tuple[str, ...], str | None]] = [
    # --- opening
    ("opens", None, opening(), NOW, S.OPEN, (), (), None),
    ("opens at its deadline", None, opening(), LATE, S.EXPIRED, END, PASSED, None),
    ("older than the newest", None, opening(newest=8), NOW, S.DECLINED, END, ("superseded",), None),
    ("as new as the newest", None, opening(newest=7), NOW, S.DECLINED, END, ("superseded",), None),
    ("newer than the newest", None, opening(newest=6), NOW, S.OPEN, (), (), None),
    ("order taken", None, opening(taken=True), NOW, S.DECLINED, END, ("duplicate_order",), None),
    ("superseded before taken", None, opening(newest=9, taken=True), NOW, S.DECLINED, END, ("superseded",), None),
    ("expired before superseded", None, opening(newest=9), LATE, S.EXPIRED, END, PASSED, None),
    ("repeated", OPEN, opening(), NOW, S.OPEN, (), (), "command_repeated"),
    ("repeated with other terms", OPEN, opening(terms=LESS), NOW, S.OPEN, (), (), "intent_id_reused"),
    ("repeated after the outcome", SETTLED, opening(), NOW, S.SETTLED, (), (), "command_repeated"),
    # --- before the command
    ("verdict first", None, APPROVE, NOW, None, (PARK,), (), None),
    ("verdict first, too late", None, APPROVE, LATE, None, (), (), "parked_expired"),
    ("confirmation first", None, confirmed(), NOW, None, (), (), "unknown_intent"),
    ("cancel first", None, CANCEL, NOW, None, (), (), "unknown_intent"),
    # --- verdicts on an open intent
    ("approve", OPEN, APPROVE, NOW, S.AUTHORISING, (POST,), (), None),
    ("approve at the deadline", OPEN, APPROVE, LATE, S.EXPIRED, END, PASSED, "after_outcome"),
    ("step up", OPEN, STEP_UP, NOW, WAITING, (), (), None),
    ("step up by no method", OPEN, judged("step_up", methods=()), NOW, S.DECLINED, END, ("no_method",), None),
    ("decline", OPEN, DECLINE, NOW, S.DECLINED, END, ("velocity",), None),
    ("decline without reason", OPEN, judged("decline"), NOW, S.DECLINED, END, ("declined",), None),
    ("another amount", OPEN, judged("approve", terms=other_terms(amount_minor=999)), NOW, S.DECLINED, END, OTHER, None),
    ("another payee", OPEN, judged("approve", terms=other_terms(payee_id="thief")), NOW, S.DECLINED, END, OTHER, None),
    ("another currency", OPEN, judged("approve", terms=other_terms(currency="EUR")), NOW, S.DECLINED, END, OTHER, None),
    ("another expiry", OPEN, judged("approve", terms=LONGER), NOW, S.DECLINED, END, OTHER, None),
    # --- a confirmation that overtook its verdict
    ("confirmation held", OPEN, confirmed(), NOW, S.OPEN, (), (), None),
    ("forged confirmation not held", OPEN, confirmed(mac_ok=False), NOW, S.OPEN, (), (), "bad_mac"),
    ("step up after its confirmation", HELD, STEP_UP, NOW, S.AUTHORISING, (POST,), (), None),
    ("step up for another than confirmed", HELD, judged("step_up", BOB), NOW, WAITING, (), (), None),
    # --- awaiting confirmation
    ("confirmed", AWAITING, confirmed(), NOW, S.AUTHORISING, (POST,), (), None),
    ("confirmed at the deadline", AWAITING, confirmed(), LATE, S.EXPIRED, END, PASSED, "after_outcome"),
    ("forged confirmation", AWAITING, confirmed(mac_ok=False), NOW, WAITING, (), (), "bad_mac"),
    ("confirmed by another", AWAITING, confirmed(BOB), NOW, WAITING, (), (), "confirmation_mismatch"),
    ("confirmed another verdict", AWAITING, confirmed(verdict_id=ALICE), NOW, WAITING, (), (), "confirmation_mismatch"),
    ("verdict repeated", AWAITING, STEP_UP, NOW, WAITING, (), (), "verdict_repeated"),
    ("a more lenient verdict", AWAITING, APPROVE, NOW, WAITING, (), (), "verdict_repeated"),
    ("a stricter verdict", AWAITING, DECLINE, NOW, S.DECLINED, END, ("velocity",), None),
    ("another payer", AWAITING, BOBS, NOW, S.DECLINED, END, ("payer_conflict",), None),
    ("other terms later", AWAITING, judged("step_up", terms=LESS), NOW, S.DECLINED, END, OTHER, None),
    # --- authorising
    ("the ledger says yes", AUTHORISING, YES, NOW, S.SETTLED, END, (), None),
    ("the ledger says no", AUTHORISING, NO, NOW, S.DECLINED, END, ("limit_exceeded",), None),
    ("a yes at the deadline", AUTHORISING, YES, LATE, S.EXPIRED, (VOID, ANNOUNCE), PASSED, "answer_after_outcome"),
    ("the deadline voids", AUTHORISING, Tick(), LATE, S.EXPIRED, (VOID, ANNOUNCE), PASSED, None),
    ("cancel too late", AUTHORISING, CANCEL, NOW, S.AUTHORISING, (), (), "cancel_too_late"),
    ("supersede too late", AUTHORISING, SUPERSEDE, NOW, S.AUTHORISING, (), (), "supersede_too_late"),
    ("another payer voids", AUTHORISING, BOBS, NOW, S.DECLINED, (VOID, ANNOUNCE), ("payer_conflict",), None),
    ("confirmed again", AUTHORISING, confirmed(), NOW, S.AUTHORISING, (), (), "confirmation_repeated"),
    ("an answer nobody asked for", OPEN, YES, NOW, S.OPEN, (ALERT,), (), "answer_not_asked_for"),
    # --- giving up
    ("cancel", OPEN, CANCEL, NOW, S.CANCELLED, END, ("gave_up",), None),
    ("cancel while awaiting", AWAITING, CANCEL, NOW, S.CANCELLED, END, ("gave_up",), None),
    ("cancel at the deadline", OPEN, CANCEL, LATE, S.EXPIRED, END, PASSED, "after_outcome"),
    ("superseded", OPEN, SUPERSEDE, NOW, S.CANCELLED, END, ("superseded",), None),
    ("superseded while awaiting", AWAITING, SUPERSEDE, NOW, S.CANCELLED, END, ("superseded",), None),
    # --- time
    ("a tick in time", OPEN, Tick(), NOW, S.OPEN, (), (), None),
    ("the deadline", OPEN, Tick(), LATE, S.EXPIRED, END, PASSED, None),
    ("the deadline after a hint", HINTED, Tick(), LATE, S.EXPIRED, END, ("one_person_please",), None),
    ("the deadline while awaiting", AWAITING, Tick(), LATE, S.EXPIRED, END, PASSED, None),
    ("a hint", OPEN, HINT, NOW, S.OPEN, (), (), None),
    ("a hint at the deadline", OPEN, HINT, LATE, S.EXPIRED, END, PASSED, None),
    # --- after the outcome
    ("approve after settled", SETTLED, APPROVE, NOW, S.SETTLED, (), (), "after_outcome"),
    ("another payer after settled", SETTLED, BOBS, NOW, S.SETTLED, (ALERT,), (), CONFLICT),
    ("another payer after cancelled", CANCELLED, BOBS, NOW, S.CANCELLED, (), ("gave_up",), "after_outcome"),
    ("confirm after cancelled", CANCELLED, confirmed(), NOW, S.CANCELLED, (), ("gave_up",), "after_outcome"),
    ("cancel after settled", SETTLED, CANCEL, NOW, S.SETTLED, (), (), "after_outcome"),
    ("a late yes after void", EXPIRED, YES, LATE, S.EXPIRED, (ALERT,), PASSED, "answer_after_outcome"),
    ("the deadline after settled", SETTLED, Tick(), LATE, S.SETTLED, (), (), None),
    ("the deadline after declined", DECLINED, Tick(), LATE, S.DECLINED, (), ("velocity",), None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("before", "happened", "now_us", "state", "effects", "reasons", "note"),
    [r[1:] for r in ROWS],
    ids=[r[0] for r in ROWS],
)
def test_a_decision_is_what_its_row_says(
    before: Intent | None,
    happened: Input,
    now_us: int,
    state: State | None,
    effects: tuple[Effect, ...],
    reasons: tuple[str, ...],
    note: str | None,
) -> None:
    """Each case of the lifecycle gives exactly its state, effects, reasons and note."""
    decision = decide(before, happened, now_us)
    after = decision.intent
    assert (after.state if after else None, decision.effects, after.reasons if after else (), decision.note) == (
        state,
        effects,
        reasons,
        note,
    )


# before, amount, currency, now_us -> refused, refunded after
REFUNDS: list[tuple[str, Intent, int, str, int, str | None, int]] = [
    ("in part", SETTLED, 400, "CNY", IN_TIME_US, None, 400),
    ("in whole", SETTLED, 1_000, "CNY", IN_TIME_US, None, 1_000),
    ("after the deadline", SETTLED, 400, "CNY", DEADLINE_US * 9, None, 400),
    ("more than settled", SETTLED, 1_001, "CNY", IN_TIME_US, "exceeds_settled", 0),
    ("more than is left", replace(SETTLED, refunded_minor=700), 301, "CNY", IN_TIME_US, "exceeds_settled", 700),
    ("the rest", replace(SETTLED, refunded_minor=700), 300, "CNY", IN_TIME_US, None, 1_000),
    ("another currency", SETTLED, 1, "EUR", IN_TIME_US, "currency_differs", 0),
    ("currency before amount", SETTLED, 1_001, "EUR", IN_TIME_US, "currency_differs", 0),
    ("of an open intent", OPEN, 1, "CNY", IN_TIME_US, "not_settled", 0),
    ("of an open intent at its deadline", OPEN, 1, "CNY", DEADLINE_US, "not_settled", 0),
    ("of a declined intent", DECLINED, 1, "CNY", IN_TIME_US, "not_settled", 0),
]


@pytest.mark.parametrize(
    ("before", "amount", "currency", "now_us", "refused", "refunded"),
    [r[1:] for r in REFUNDS],
    ids=[r[0] for r in REFUNDS],
)
def test_a_refund_is_answered_as_its_row_says(
    before: Intent, amount: int, currency: str, now_us: int, refused: str | None, refunded: int
) -> None:
    """Refunds never exceed what was settled, keep its currency, and need a settlement."""
    decision = decide(before, refund(amount, currency), now_us)
    assert decision.refund is not None
    assert decision.intent is not None
    assert (decision.refund.refused, decision.intent.refunded_minor) == (refused, refunded)
    if refused is None:
        assert decision.intent.state is State.SETTLED


@pytest.mark.parametrize("payer", [ALICE, BOB])
def test_method_and_evidence_say_how_it_was_authorised(payer: str) -> None:
    """A face alone needs no confirmation; a PIN leaves its confirmation's hash, in whichever order the two came."""
    by_face = decide(OPEN, judged("approve", payer), IN_TIME_US).intent
    in_order = decide(AWAITING, confirmed(), IN_TIME_US).intent
    overtaken = decide(HELD, STEP_UP, IN_TIME_US).intent
    assert by_face is not None
    assert in_order is not None
    assert overtaken is not None
    assert by_face.bound is not None
    assert (by_face.method, by_face.confirmation_sha256, by_face.bound.payer_id) == ("face", None, payer)
    assert (in_order.method, in_order.confirmation_sha256) == ("face_pin", "sha-confirmation")
    assert (overtaken.method, overtaken.confirmation_sha256) == ("face_pin", "sha-confirmation")


def test_the_table_is_whole_and_as_designed() -> None:
    """Every state answers every input, ends only where architecture.md lets it, and final states never move."""
    kinds = set(get_args(Input))
    assert set(TRANSITIONS) == set(State)
    assert all(set(row) == kinds for row in TRANSITIONS.values())
    reach = {state: frozenset().union(*row.values()) - {state} for state, row in TRANSITIONS.items()}
    assert reach[State.OPEN] == set(State) - {State.OPEN, State.SETTLED}
    assert reach[State.AWAITING_CONFIRMATION] == {State.AUTHORISING, State.DECLINED, State.EXPIRED, State.CANCELLED}
    assert reach[State.AUTHORISING] == {State.SETTLED, State.DECLINED, State.EXPIRED}
    assert all(not reach[state] for state in FINAL)
    assert State.SETTLED not in START


HAPPENINGS: list[Input] = [
    opening(), APPROVE, STEP_UP, DECLINE, BOBS, confirmed(), CANCEL, SUPERSEDE, HINT, YES, NO,
    refund(1), Tick(),
]  # fmt: skip


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("happened", HAPPENINGS, ids=lambda happened: type(happened).__name__)
@pytest.mark.parametrize("now_us", [IN_TIME_US, DEADLINE_US])
def test_no_rule_leaves_the_table_and_none_settles_late(state: State, happened: Input, now_us: int) -> None:
    """Whatever happens in whatever state, the step is in the table, and nothing becomes settled at the deadline."""
    before = STATES[state]
    after = decide(before, happened, now_us).intent
    assert after is not None
    assert after.state in TRANSITIONS[state][type(happened)]
    if now_us >= DEADLINE_US and before.live:
        assert after.state is State.EXPIRED


def test_a_step_outside_the_table_is_our_own_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule that went wrong raises before anything is written."""
    monkeypatch.setattr(lifecycle, "_rule", lambda *_: Decision(replace(OPEN, state=State.SETTLED)))
    with pytest.raises(ImpossibleTransition):
        decide(OPEN, APPROVE, IN_TIME_US)
