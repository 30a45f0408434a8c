"""The demo's own figures find what they are there to find: wrong payers, doubles, losses; and measure what they say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from loadtests.demo.statistics import log_bins, percentile
from loadtests.demo.truth import Disturbance, Figures, at_the_pin_pad_ms, latency_ms, measure
from loadtests.gateway_client import Opened
from loadtests.people.cast import Payer, Stranger
from loadtests.people.visits import Kind, Visit
from loadtests.terminal import Moment, VisitRecord
from pipeline.audit.history import FINAL_OUTCOMES, History
from schemas.events import OpenIntent
from schemas.ids import derived_id
from tests.unit.audit.story import OTHER_PAYER, PAYER, PIN, SECOND_US, clean

NOWHERE = Path("nowhere.jpg")


def visits_of(history: History, *, owner: str = PAYER) -> list[VisitRecord]:
    """What terminals would have recorded of a history: `owner` stood there each time."""
    outcomes = {r.event.intent_id: r.event for r in history.settlements if r.event.outcome in FINAL_OUTCOMES}
    found = []
    for record in history.commands:
        event = record.event
        if not isinstance(event, OpenIntent):
            continue
        start_us = event.terms.opened_at_us
        visit = Visit(kind=Kind.PLAIN, who=Payer(owner, "p", NOWHERE, NOWHERE, "1234"), amount_minor=1, seed=1)
        seen = VisitRecord(visit, event.terminal_id, start_us - 1000)
        seen.opened = Opened(event.intent_id, "open", 1, event.lane_seq, event.terms, event.trace)
        seen.opened_at_us = start_us + 2_000
        seen.film.eligible_us = start_us + 10_000
        seen.outcome = outcomes.get(event.intent_id)
        if seen.outcome is not None:
            seen.outcome_at_us = seen.outcome.decided_at_us + 20_000
        found.append(seen)
    return found


def figures(history: History, visits: list[VisitRecord], *disturbances: Disturbance) -> Figures:
    """Measured over ten seconds."""
    return measure(visits, history, disturbances, seconds=10)


def test_a_true_history_has_nothing_wrong() -> None:
    """Two settled for the right person, one of each other outcome; the one still open is lost if nothing comes."""
    history = clean()
    found = figures(history, visits_of(history)[:-1])
    assert found.intents == 5
    assert found.outcomes == {"settled": 2, "declined": 1, "expired": 1, "cancelled": 1}
    assert (found.wrong_payer, found.duplicates, found.lost) == (0, 0, 0)
    assert (found.stepped_up, found.refunded) == (1, 1)
    assert found.settlements_per_s == 0.2


def test_a_charge_for_somebody_else_is_found() -> None:
    """Another payer than the one who stood there, or anybody where a stranger stood."""
    history = clean()
    assert figures(history, visits_of(history, owner=OTHER_PAYER)).wrong_payer == 2
    visits = visits_of(history)
    for visit in visits:
        visit.visit = replace(visit.visit, who=Stranger("s", NOWHERE))
    found = figures(history, visits)
    assert (found.wrong_payer, found.strangers_charged, found.strangers) == (2, 2, 6)


def test_a_settlement_that_nobody_asked_for_is_wrong() -> None:
    """An intent that no terminal knows of has charged somebody who did not stand anywhere."""
    history = clean()
    assert figures(history, []).wrong_payer == 2


def test_an_intent_that_a_claim_superseded_counts_too() -> None:
    """Two intents of one visit are two intents: a charge under the older one is right for the same person only, and one
    without an outcome is lost; the visit is still timed once."""
    history = clean()
    visits = visits_of(history)[:-1]
    whole = figures(history, visits)
    older, newest = visits[0], visits[1]
    assert older.opened is not None
    newest.superseded.append(older.opened)
    merged = figures(history, visits[1:])
    assert (merged.intents, merged.wrong_payer, merged.lost) == (whole.intents, 0, 0)
    assert len(merged.latencies_ms) == len(whole.latencies_ms) - (older.state == "settled")
    lost = replace(older.opened, intent_id=derived_id("never ended"))
    newest.superseded.append(lost)
    assert figures(history, visits[1:]).lost_intents == (lost.intent_id,)


def test_an_intent_without_outcome_is_lost() -> None:
    """The gateway confirmed it, so it must end."""
    history = clean()
    visits = visits_of(history)
    found = figures(history, visits)
    assert found.lost == 1
    assert found.lost_intents == (visits[-1].intent_id,)
    without = replace(history, settlements=tuple(r for r in history.settlements if r.event.outcome != "refunded"))
    assert figures(without, visits).lost == 2


@pytest.mark.parametrize("number", range(6))
def test_a_record_that_stands_twice_is_a_duplicate(number: int) -> None:
    """The same outbox row again, or another final outcome of the same intent, or a second answer to a refund."""
    history = clean()
    again = history.settlements[number % len(history.settlements)]
    doubled = replace(history, settlements=(*history.settlements, replace(again, offset=99)))
    assert figures(doubled, visits_of(history)).duplicates == 1
    assert again.emission is not None
    other_row = replace(again, offset=99, emission=replace(again.emission, outbox_seq=99))
    assert figures(replace(history, settlements=(*history.settlements, other_row)), []).duplicates == 1


def test_latency_is_what_a_person_feels() -> None:
    """From the first eligible frame to the terminal's knowing; the PIN pad's time is the person's."""
    history = clean()
    visit = next(v for v in visits_of(history) if v.intent_id == PIN)
    assert visit.outcome_at_us is not None
    assert visit.film.eligible_us is not None
    whole = (visit.outcome_at_us - visit.film.eligible_us) / 1000
    assert latency_ms(visit) == whole
    assert latency_ms(visit, from_open=True) == whole + 8
    visit.moments = [Moment(0, "step_up"), Moment(100_000, "PIN accepted")]
    assert at_the_pin_pad_ms(visit) == 100
    assert latency_ms(visit) == whole - 100


def test_only_settled_payments_have_a_latency() -> None:
    """And only those that were filmed."""
    history = clean()
    measured = [latency_ms(visit) is not None for visit in visits_of(history)]
    assert measured == [True, True, False, False, False, False]
    visit = visits_of(history)[0]
    visit.film.eligible_us = None
    assert latency_ms(visit) is None


def test_the_undisturbed_are_those_that_no_outage_touched() -> None:
    """A payment under way at any moment of an outage is disturbed, and left out of the undisturbed percentile."""
    history = clean()
    visits = visits_of(history)
    second = visits[1]
    assert second.outcome_at_us is not None
    outage = Disturbance("fraud", second.outcome_at_us - 1, second.outcome_at_us + SECOND_US)
    found = figures(history, visits, outage)
    assert found.disturbed == 1
    assert found.p99_undisturbed_ms == latency_ms(visits[0])
    assert found.p99_ms == latency_ms(second)
    nothing = figures(history, visits, Disturbance("fraud", 0, 1))
    assert nothing.disturbed == 0


PERCENTILES: tuple[tuple[list[float], float, float | None], ...] = (
    ([], 0.5, None),
    ([7.0], 0.99, 7.0),
    ([4.0, 1.0, 3.0, 2.0], 0.5, 2.0),
    ([4.0, 1.0, 3.0, 2.0], 0.51, 3.0),
    ([float(n) for n in range(1, 101)], 0.99, 99.0),
    ([float(n) for n in range(1, 101)], 1.0, 100.0),
)


@pytest.mark.parametrize(("values", "share", "wanted"), PERCENTILES)
def test_percentiles_are_measured_values(values: list[float], share: float, wanted: float | None) -> None:
    """Nearest rank: nothing is invented between two measurements."""
    assert percentile(values, share) == wanted


def test_bins_hold_every_value() -> None:
    """What lies outside counts in the outermost bins."""
    assert log_bins([0.1, 1.5, 15.0, 150.0, 9999.0], 1.0, 1000.0, 3) == [2, 1, 2]
