"""The laws of the lifecycle, for any order, any repetition and any timing of what can happen to an intent."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.intents import Answered, Confirmation, Effect, Input, Intent, Judgement, State, Tick
from pipeline.domain.lifecycle import decide
from tests.unit.lifecycle.values import (
    ALICE,
    BOB,
    CANCEL,
    DEADLINE_US,
    HINT,
    OPENED_US,
    SUPERSEDE,
    TERMS,
    confirmed,
    judged,
    opening,
    other_terms,
    refund,
)

inputs: st.SearchStrategy[Input] = st.one_of(
    st.builds(opening),
    st.builds(
        judged,
        st.sampled_from(["approve", "step_up", "decline"]),
        st.sampled_from([ALICE, BOB]),
        terms=st.sampled_from([TERMS, TERMS, TERMS, other_terms(amount_minor=1)]),
    ),
    st.builds(confirmed, st.sampled_from([ALICE, BOB]), mac_ok=st.booleans()),
    st.sampled_from([CANCEL, SUPERSEDE, HINT, Tick(), Answered(None), Answered("limit_exceeded")]),
    st.builds(refund, st.integers(1, 1_200), key=st.sampled_from("abc")),
)
moments = st.integers(OPENED_US, DEADLINE_US + 300_000)
stories = st.lists(st.tuples(inputs, moments), max_size=30).map(lambda s: sorted(s, key=lambda pair: pair[1]))


def play(story: list[tuple[Input, int]]) -> tuple[Intent | None, list[tuple[Intent, Intent, Input, int]], int]:
    """The intent after a story that starts with its opening, each change on the way, and the outcomes announced."""
    intent: Intent | None = None
    changes: list[tuple[Intent, Intent, Input, int]] = []
    announced = 0
    for happened, now_us in [(opening(), OPENED_US), *story, (Tick(), DEADLINE_US + 300_000)]:
        decision = decide(intent, happened, now_us)
        announced += decision.effects.count(Effect.ANNOUNCE)
        if intent is not None and decision.intent is not None and decision.intent is not intent:
            changes.append((intent, decision.intent, happened, now_us))
        intent = decision.intent
    return intent, changes, announced


@given(stories)
def test_every_story_ends_in_exactly_one_outcome(story: list[tuple[Input, int]]) -> None:
    """However inputs come, the last state is final, was announced once, and no state follows a final one."""
    intent, changes, announced = play(story)
    assert intent is not None
    assert not intent.live
    assert announced == 1
    assert all(before.live or before.state is after.state for before, after, _, _ in changes)


@given(stories)
def test_nothing_is_settled_at_or_after_the_deadline(story: list[tuple[Input, int]]) -> None:
    """A settlement was decided before its deadline, and an intent that is alive at the deadline expires there."""
    intent, changes, _ = play(story)
    assert intent is not None
    assert intent.decided_at_us is not None
    if intent.state is State.SETTLED:
        assert intent.decided_at_us < DEADLINE_US
    assert all(now_us < DEADLINE_US for before, after, _, now_us in changes if before.live and after.live)


@given(stories)
def test_the_first_verdict_binds_the_payer(story: list[tuple[Input, int]]) -> None:
    """Who pays is the payer of the first verdict that was seen, and the bound verdict never changes."""
    intent, changes, _ = play(story)
    assert intent is not None
    first = next((i for i, now_us in story if isinstance(i, Judgement) and now_us < DEADLINE_US), None)
    if intent.bound is not None:
        assert intent.bound == first
    assert all(before.bound in (None, after.bound) for before, after, _, _ in changes)


@given(stories)
def test_money_moves_on_an_approval_or_a_confirmed_step_up_only(story: list[tuple[Input, int]]) -> None:
    """Settled by face needs an approval; by PIN a step-up and the same payer's confirmation, its MAC intact."""
    intent, _, _ = play(story)
    assert intent is not None
    if intent.state is not State.SETTLED:
        assert intent.refunded_minor == 0
        return
    bound = intent.bound
    assert bound is not None
    assert bound.terms == TERMS
    if intent.method == "face":
        assert bound.decision == "approve"
    else:
        assert bound.decision == "step_up"
        assert any(isinstance(i, Confirmation) and i.mac_ok and i.payer_id == bound.payer_id for i, _ in story)
    assert 0 <= intent.refunded_minor <= TERMS.amount_minor


@given(stories, st.integers(2, 3))
def test_repeating_each_input_changes_no_outcome(story: list[tuple[Input, int]], times: int) -> None:
    """At-least-once delivery: each input twice or three times in a row ends like once, but for refunds, whose
    repetition is told by their id before the lifecycle sees them."""
    once = [pair for pair in story if not hasattr(pair[0], "refund_id")]
    repeated = [pair for pair in once for _ in range(times)]
    first, second = play(once)[0], play(repeated)[0]
    assert first is not None
    assert second is not None
    assert replace(first, last_hint=None) == replace(second, last_hint=None)
