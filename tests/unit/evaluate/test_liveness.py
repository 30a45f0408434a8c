"""APCER by species, BPCER, AUC and eyes: known answers, and what counts as no response."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluate import liveness
from pipeline.evaluate.intervals import binomial
from pipeline.evaluate.sightings import Sighting
from tests.unit.evaluate.people import seen


def shown(label: str, *scores: float | None, identity: str = "") -> list[Sighting]:
    """Presentations of one label; None is one without a face."""
    return [
        seen(
            f"{label}{k}",
            outcome="seen" if score is not None else "not_detected",
            live=score,
            label=label,
            identity=identity,
        )
        for k, score in enumerate(scores)
    ]


def test_each_species_has_its_own_rate_and_the_live_have_theirs() -> None:
    """At the threshold a score counts as live; a presentation without a face is not classified."""
    figures = liveness.rates(
        [*shown("live", 0.9, 0.5, 0.49, None), *shown("print", 0.1, 0.5, 0.2, 0.3), *shown("screen", 0.4, None)], 0.5
    )
    print_, screen = figures.attacks
    assert (print_.name, print_.rate, print_.errors, print_.classified) == ("print", 0.25, 1, 4)
    assert (screen.name, screen.rate, screen.classified, screen.non_responses) == ("screen", 0.0, 1, 1)
    assert figures.bona_fide.rate == pytest.approx(1 / 3)
    assert figures.bona_fide.non_responses == 1
    assert print_.ci == binomial(1, 4)
    # Of 3 x 5 pairs the live score is higher in all but two: 0.49 below 0.5, and 0.5 equal to it.
    assert figures.auc == pytest.approx((15 - 1.5) / 15)


def test_an_unreadable_file_is_no_presentation() -> None:
    """It is an error of the data set: in no rate, and no non-response."""
    figures = liveness.rates([*shown("live", 0.9), seen("broken", outcome="unreadable", label="live")], 0.5)
    assert (figures.bona_fide.classified, figures.bona_fide.non_responses) == (1, 0)


def test_nine_images_prove_little() -> None:
    """0 of 5 attacks accepted still allows 45 %, and a perfect AUC is not sure either."""
    figures = liveness.rates([*shown("live", 0.99, 0.98, 0.97, 0.96), *shown("print", 0.1, 0.2, 0.3, 0.4, 0.5)], 0.85)
    assert figures.attacks[0].ci == pytest.approx((0.0, 0.4507), abs=1e-4)
    assert figures.bona_fide.ci == pytest.approx((0.0, 0.5271), abs=1e-4)
    assert figures.auc == 1.0
    assert figures.auc_ci[0] == pytest.approx(0.05 ** (1 / 4), abs=1e-6)


def test_many_pictures_of_one_person_count_as_one_person() -> None:
    """Thirty attacks with one person's print, none accepted: nothing is known about anybody else's."""
    alone = liveness.rates(shown("print", *[0.1] * 30, identity="a"), 0.5).attacks[0]
    apart = liveness.rates([s for k in range(30) for s in shown("print", 0.1, identity=f"p{k}")], 0.5).attacks[0]
    assert (alone.rate, apart.rate) == (0.0, 0.0)
    assert alone.ci[1] == pytest.approx(0.95)
    assert apart.ci[1] == pytest.approx(0.095, abs=1e-3)


def test_no_attack_and_no_bona_fide_give_no_rate() -> None:
    """Nothing is claimed about what was not shown."""
    figures = liveness.rates(shown("live", None), 0.5)
    assert (figures.bona_fide.rate, figures.bona_fide.ci, figures.auc, figures.auc_ci) == (None, (0, 1), None, (0, 1))
    assert figures.attacks == []


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.booleans(), st.floats(0, 1)), min_size=1, max_size=25),
    st.floats(0.1, 0.9),
)
def test_every_interval_holds_its_rate(rows: list[tuple[str, bool, float]], threshold: float) -> None:
    """Whoever showed what, however often."""
    sightings = [s for who, live, score in rows for s in shown("live" if live else "mask", score, identity=who)]
    figures = liveness.rates(sightings, threshold)
    for share in [*figures.attacks, figures.bona_fide]:
        if share.rate is not None:
            assert 0 <= share.ci[0] <= share.rate <= share.ci[1] <= 1
    if figures.auc is not None:
        assert 0 <= figures.auc_ci[0] <= figures.auc <= figures.auc_ci[1] <= 1


def test_eyes_that_are_not_said_open_are_refused() -> None:
    """Not sure counts against open eyes and for closed ones: the payer is asked for a PIN."""
    sightings = [
        seen("1", label="live", eyes="open", outcome="not_detected"),
        *(seen(f"o{k}", label="live", eyes="open", eye=said) for k, said in enumerate([0.9, 0.9, 0.5, 0.1])),
        *(seen(f"c{k}", label="live", eyes="Closed", eye=said) for k, said in enumerate([0.1, 0.5, 0.9])),
        seen("2", label="live", eye=0.9),
    ]
    figures = liveness.eyes(sightings)
    assert figures is not None
    opened, closed = figures.open_refused, figures.closed_accepted
    assert (opened.errors, opened.classified, opened.non_responses) == (2, 4, 1)
    assert (closed.errors, closed.classified, closed.ci) == (1, 3, binomial(1, 3))


def test_eyes_without_labels_or_without_a_model_have_no_figures() -> None:
    """Nothing is claimed about what was not labelled or not looked at."""
    assert liveness.eyes([seen("1", label="live", eye=0.9)]) is None
    assert liveness.eyes([seen("1", label="live", eyes="open")]) is None
