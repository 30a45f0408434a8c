"""The intent book: where an intent stands is a function of what is known of it, not of the order it came in."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.gateway.answers import intent_view
from pipeline.gateway.book import MAX_HINTS, Fact, IntentBook
from tests.unit.gateway.facts import NOW_US, Story

HISTORY_US = 60_000_000
STORY = Story()
ROWS: list[tuple[str, list[Fact], str]] = [
    ("opened", [], "open"),
    ("a hint", [STORY.hint()], "open"),
    ("approved", [STORY.verdict()], "authorising"),
    ("declined by the fraud agent, not yet by settlement", [STORY.verdict("decline")], "authorising"),
    ("stepped up", [STORY.verdict("step_up")], "awaiting_confirmation"),
    ("confirmed", [STORY.verdict("step_up"), STORY.confirm()], "authorising"),
    ("a confirmation before its verdict", [STORY.confirm()], "open"),
    ("cancelled, settlement has not said so", [STORY.cancel()], "open"),
    ("settled", [STORY.verdict(), STORY.settlement()], "settled"),
    ("an outcome wins over everything", [STORY.verdict("step_up"), STORY.settlement("expired")], "expired"),
    ("cancelled", [STORY.cancel(), STORY.settlement("cancelled")], "cancelled"),
    ("declined", [STORY.settlement("declined")], "declined"),
    ("refunded", [STORY.settlement(), STORY.settlement("refunded", "refund")], "settled"),
    ("a refund refused", [STORY.settlement(), STORY.settlement("refund_refused", "refund")], "settled"),
]


def book_of(*facts: Fact) -> IntentBook:
    """A book that was told these facts."""
    book = IntentBook(HISTORY_US)
    for fact in facts:
        book.apply(fact, NOW_US)
    return book


@pytest.mark.parametrize(("what", "facts", "state"), ROWS)
def test_state(what: str, facts: list[Fact], state: str) -> None:
    """These facts after the opening are this state."""
    record = book_of(STORY.opening(), *facts).find("till-1", STORY.intent_id)
    assert record is not None
    assert record.state == state, what
    assert record.version == 1 + len(facts)


@given(st.data())
def test_any_interleaving_ends_the_same(data: st.DataObject) -> None:
    """Topics race and records repeat: any order and any repetition gives the same view and the same version."""
    facts: list[Fact] = [
        STORY.opening(),
        STORY.hint(0),
        STORY.hint(1, "look_here"),
        STORY.note(),
        STORY.verdict("step_up"),
        STORY.confirm(),
        STORY.cancel(),
        STORY.settlement(),
        STORY.refund(),
        STORY.settlement("refunded", "refund"),
    ]
    chosen = data.draw(st.lists(st.sampled_from(facts), unique=True).map(lambda some: [*some, STORY.opening()]))
    expected = book_of(*sorted(chosen, key=facts.index)).find("till-1", STORY.intent_id)
    shuffled = data.draw(st.permutations([*chosen, *chosen]))
    found = book_of(*shuffled).find("till-1", STORY.intent_id)
    assert expected is not None
    assert found is not None
    assert intent_view(STORY.intent_id, found) == intent_view(STORY.intent_id, expected)
    assert [number for number, _ in found.numbered] == list(range(1, found.version + 1))


def test_a_terminal_sees_its_own_intents_only() -> None:
    """A record is found by its own terminal, once its command or its outcome is known."""
    book = book_of(STORY.verdict())
    assert book.find("till-1", STORY.intent_id) is None
    book.apply(STORY.opening(), NOW_US)
    assert book.find("till-1", STORY.intent_id) is not None
    assert book.find("till-2", STORY.intent_id) is None
    assert book_of(STORY.settlement()).find("till-1", STORY.intent_id) is not None


def test_the_first_command_counts() -> None:
    """Two gateways may send the same opening: the first in the topic is the intent's, the second changes nothing, nor
    does one that came by with an id of its own."""
    first, second = STORY.opening(lane_seq=5), STORY.opening(lane_seq=6)
    record = book_of(first, second).find("till-1", STORY.intent_id)
    assert record is not None
    assert (record.opening, record.version) == (first, 1)
    record = book_of(first, replace(second, event_id=STORY.hint().event_id)).find("till-1", STORY.intent_id)
    assert record is not None
    assert record.opening == first


@pytest.mark.parametrize(
    ("what", "facts", "wanted"),
    [
        ("opened", [], True),
        ("a hint that goes on", [STORY.hint()], True),
        ("a hint that is final", [STORY.hint(final=True)], False),
        ("a verdict", [STORY.verdict("step_up")], False),
        ("cancelled", [STORY.cancel()], False),
        ("an outcome", [STORY.settlement("expired")], False),
        ("superseded", [Story("newer").opening(lane_seq=2)], False),
    ],
)
def test_cameras_send_only_while_frames_can_decide(what: str, facts: list[Fact], wanted: bool) -> None:
    """A lease holds for the terminal's newest intent until its verdict, its end or its deadline."""
    book = book_of(STORY.opening(), *facts)
    found = book.wants_frames("till-1", NOW_US)
    assert (found is not None and found.intent_id == STORY.intent_id) is wanted, what
    assert book.wants_frames("till-1", STORY.terms.expires_at_us) is None or not wanted
    assert book.wants_frames("till-2", NOW_US) is None


def test_an_expired_intent_is_leased_no_more() -> None:
    """At its deadline, not after it."""
    book = book_of(STORY.opening())
    assert book.wants_frames("till-1", STORY.terms.expires_at_us - 1) is not None
    assert book.wants_frames("till-1", STORY.terms.expires_at_us) is None


def test_memory_is_bounded() -> None:
    """What rests for the history's time is forgotten, with its lane; what lives stays."""
    old, young = Story("old"), Story("young", terminal="till-2", now_us=NOW_US + HISTORY_US)
    book = book_of(old.opening(lane_seq=7), old.settlement())
    book.apply(young.opening(), NOW_US + HISTORY_US)
    expires_us = old.terms.expires_at_us
    assert book.evict(expires_us + HISTORY_US) == 0
    assert book.last_lane_seq("till-1") == 7
    assert book.evict(expires_us + HISTORY_US + 1) == 1
    assert book.find("till-1", old.intent_id) is None
    assert book.last_lane_seq("till-1") == 0
    assert book.find("till-2", young.intent_id) is not None
    assert len(book) == 1


def test_many_hints_are_bounded_and_the_newest_kept() -> None:
    """Hints without end take no memory without end; the version goes on counting."""
    book = book_of(STORY.opening(), *[STORY.hint(number) for number in range(MAX_HINTS * 3)])
    record = book.find("till-1", STORY.intent_id)
    assert record is not None
    assert record.version == 1 + MAX_HINTS * 3
    assert len(record.numbered) == 1 + MAX_HINTS
    assert len(record.seen) == 1 + MAX_HINTS
    assert record.hint == STORY.hint(MAX_HINTS * 3 - 1)


def test_a_hint_is_noted_once_per_code_while_the_intent_lives() -> None:
    """Settlement is told a new code, not the same one again, and nothing after the outcome."""
    book = book_of(STORY.hint(0), STORY.opening())
    assert book.unnoted(NOW_US) == [("till-1", STORY.intent_id)]
    assert book.unnoted(STORY.terms.expires_at_us) == []
    book.apply(STORY.note("come_closer"), NOW_US)
    book.apply(STORY.hint(1, "come_closer"), NOW_US)
    assert book.unnoted(NOW_US) == []
    book.apply(STORY.hint(2, "look_here"), NOW_US)
    assert book.unnoted(NOW_US) == [("till-1", STORY.intent_id)]
    book.apply(STORY.settlement("expired"), NOW_US)
    assert book.unnoted(NOW_US) == []


def test_a_copy_does_not_change() -> None:
    """What a request looks at stays as it was while readers go on."""
    book = book_of(STORY.opening())
    record = book.find("till-1", STORY.intent_id)
    assert record is not None
    copy = record.copy()
    book.apply(STORY.hint(), NOW_US)
    book.apply(STORY.refund(), NOW_US)
    assert (copy.version, copy.hint, copy.refunds, len(copy.numbered), len(copy.seen)) == (1, None, {}, 1, 1)


def test_unproven_claims_are_counted_by_terminal() -> None:
    """A claim counts while its intent has no verdict and opened within the window; other terminals' do not, nor do
    intents without one, and what is evicted is forgotten."""
    proven, guess, bare = Story("proven"), Story("guess"), Story("bare")
    older, beside = Story("older", now_us=NOW_US - 10), Story("guess", terminal="till-2")
    book = IntentBook(HISTORY_US)
    for story, claim in ((proven, "QQ=="), (guess, "QQ=="), (bare, None), (older, "QQ=="), (beside, "QQ==")):
        book.apply(story.opening(claim=claim), NOW_US)
        book.apply(story.opening(claim=claim), NOW_US)
    assert [book.unproven_claims("till-1", since) for since in (NOW_US - 10, NOW_US, NOW_US + 1)] == [3, 2, 0]
    assert (book.unproven_claims("till-2", 0), book.unproven_claims("till-3", 0)) == (1, 0)
    book.apply(proven.verdict("decline"), NOW_US)
    assert book.unproven_claims("till-1", NOW_US) == 1
    book.evict(NOW_US + 2 * HISTORY_US)
    assert book.unproven_claims("till-1", 0) == 0
    assert len(book) == 0
