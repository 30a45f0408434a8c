"""What is remembered of a payer and what is made of it: bounded, in any order, any number of times."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain import features as module
from pipeline.domain.features import (
    MAX_USES,
    History,
    Windows,
    decode_history,
    encode_history,
    features,
    features_sha256,
    with_outcome,
    with_use,
    within_hours,
)
from pipeline.errors import InvalidMessage
from tests.unit.risk.events import MINUTE_US, NOON_US, recognition, settlement

WINDOWS = Windows(velocity_us=MINUTE_US, history_us=35 * module.DAY_US, night_hours_utc=(15, 21))


def test_counts_sums_and_terminals_of_each_window() -> None:
    """Uses count in the windows that they lie in; a declined one and another currency add nothing to the sum."""
    history = History()
    past = [
        recognition("two days ago", at_us=NOON_US - 2 * module.DAY_US, amount_minor=1),
        recognition("yesterday", at_us=NOON_US - 20 * module.HOUR_US, amount_minor=10),
        recognition("dollars", at_us=NOON_US - 19 * module.HOUR_US, amount_minor=100, currency="USD"),
        recognition("half an hour ago", at_us=NOON_US - 30 * MINUTE_US, amount_minor=1_000, terminal="till-2"),
        recognition("just now", at_us=NOON_US - MINUTE_US // 2, amount_minor=10_000, terminal="till-3"),
    ]
    for use in past:
        history = with_use(history, use, WINDOWS)
    history = with_outcome(history, settlement(past[1], "declined"), WINDOWS)
    history = with_outcome(history, settlement(past[0], "settled"), WINDOWS)
    seen = features(history, recognition("now"), WINDOWS)
    assert (seen.count_velocity, seen.count_1h, seen.count_24h) == (1, 2, 4)
    assert seen.sum_24h_minor == 11_000
    assert seen.terminals_1h == 2
    assert seen.minutes_since_last == 0.5
    assert (seen.settled, seen.declined) == (1, 1)
    assert (seen.hour_utc, seen.night) == (12, False)


def test_a_first_use_has_no_past() -> None:
    """A new payer's features are zeros and an unknown time since the last use."""
    seen = features(History(), recognition(), WINDOWS)
    assert (seen.count_24h, seen.settled, seen.minutes_since_last) == (0, 0, None)


def test_what_the_recognition_says_is_a_feature() -> None:
    """Liveness, eyes, a lookalike, what was claimed and among how many: as they are, unknown where it says nothing."""
    said: dict[str, Any] = {
        "liveness_proven": False,
        "eyes_open": True,
        "lookalike": True,
        "claim": "last_four",
        "candidates": 7,
    }
    seen = features(History(), recognition(**said), WINDOWS)
    assert {name: getattr(seen, name) for name in said} == said
    silent: dict[str, Any] = dict.fromkeys(said)
    seen = features(History(), recognition(**silent), WINDOWS)
    assert {name: getattr(seen, name) for name in silent} == silent
    assert features_sha256(seen) != features_sha256(replace(seen, claim="none"))


def test_a_recognition_is_not_its_own_past() -> None:
    """Judging the same intent again, after its use was noted, gives the same features."""
    one = recognition()
    assert features(with_use(History(), one, WINDOWS), one, WINDOWS) == features(History(), one, WINDOWS)


@pytest.mark.parametrize(
    ("hour", "hours", "inside"),
    [
        (14, (15, 21), False),
        (15, (15, 21), True),
        (20, (15, 21), True),
        (21, (15, 21), False),
        (23, (22, 5), True),
        (4, (22, 5), True),
        (5, (22, 5), False),
        (12, (22, 5), False),
        (7, (7, 7), False),
    ],
)
def test_night_may_go_over_midnight(hour: int, hours: tuple[int, int], inside: bool) -> None:
    """Hours count from the first up to, not including, the last."""
    assert within_hours(hour, hours) is inside


def test_history_is_bounded_in_number_and_age() -> None:
    """The newest uses stay; what is older than the window goes."""
    history = History()
    for index in range(MAX_USES + 20):
        history = with_use(history, recognition(str(index), at_us=NOON_US + index * MINUTE_US), WINDOWS)
    assert len(history.uses) == MAX_USES
    assert history.uses[-1].at_us == NOON_US + (MAX_USES + 19) * MINUTE_US
    later = with_use(history, recognition("much later", at_us=NOON_US + 40 * module.DAY_US), WINDOWS)
    assert len(later.uses) == 1


def test_an_outcome_rebuilds_a_lost_use() -> None:
    """When the store was lost, the outcome brings the use back; a refund changes nothing."""
    one = recognition()
    rebuilt = with_outcome(History(), settlement(one), WINDOWS)
    assert [(use.intent_id, use.outcome) for use in rebuilt.uses] == [(one.intent_id, "settled")]
    assert with_outcome(rebuilt, settlement(one, "refunded", event_id=one.event_id), WINDOWS) is rebuilt


@given(st.data())
def test_order_and_repetition_change_nothing(data: st.DataObject) -> None:
    """Uses before their outcomes, any interleaving of payers' events, any repetition: one history, and its bytes bring
    it back."""
    uses = [recognition(str(index), at_us=NOON_US + index) for index in range(6)]
    expected = History()
    for use in uses:
        expected = with_outcome(with_use(expected, use, WINDOWS), settlement(use), WINDOWS)
    history = History()
    for index in data.draw(st.permutations([*range(6), *range(6)])):
        use = uses[index]
        history = with_outcome(with_use(history, use, WINDOWS), settlement(use), WINDOWS)
    assert history == expected
    assert decode_history(encode_history(history)) == history


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b"[2]",
        b"[1,[]]",
        b'[1,["i",1,"t",1,"CNY","won",null]]',
        b'[1,["i","1","t",1,"CNY","settled",null]]',
    ],
)
def test_what_is_no_history_is_refused(data: bytes) -> None:
    """Bytes that this version did not write are named, not guessed at."""
    with pytest.raises(InvalidMessage, match="state_invalid"):
        decode_history(data)
    assert decode_history(None) == History()


def test_equal_features_have_equal_hashes() -> None:
    """The hash is over canonical JSON: equal features equal it, a changed one does not."""
    seen = features(History(), recognition(), WINDOWS)
    assert features_sha256(seen) == features_sha256(replace(seen))
    assert features_sha256(seen) != features_sha256(replace(seen, count_1h=1))
