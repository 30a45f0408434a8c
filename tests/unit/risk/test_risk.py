"""The rules, a row each: what is seen, what is said, and every reason for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain import risk
from pipeline.domain.features import Features
from pipeline.domain.risk import Policy, judge
from schemas.events import ClaimKind

POLICY = Policy(
    unproven_liveness="step_up",
    unknown_eyes="step_up",
    step_up_minor=20_000,
    decline_minor=500_000,
    night_step_up_minor=5_000,
    velocity_count=5,
    velocity_decline_count=12,
    thin_margin=0.12,
)
GOOD = Features(
    amount_minor=2_350,
    count_velocity=0,
    count_1h=0,
    count_24h=0,
    sum_24h_minor=0,
    terminals_1h=0,
    minutes_since_last=None,
    settled=0,
    declined=0,
    hour_utc=4,
    night=False,
    similarity=0.7,
    over_threshold=0.2,
    margin=0.4,
    liveness=0.9,
    liveness_proven=True,
    eyes_open=True,
    frames_used=2,
    lookalike=False,
    claim="none",
    candidates=1_000,
)

ROWS: list[tuple[str, dict[str, Any], str, tuple[str, ...]]] = [
    ("nothing against it", {}, "approve", ()),
    ("amount at the step-up limit", {"amount_minor": 20_000}, "approve", ()),
    ("amount above it", {"amount_minor": 20_001}, "step_up", ("amount_high",)),
    ("amount at the decline limit", {"amount_minor": 500_000}, "step_up", ("amount_high",)),
    ("amount above it", {"amount_minor": 500_001}, "decline", ("amount_over_limit", "amount_high")),
    ("night, small", {"night": True, "amount_minor": 5_000}, "approve", ()),
    ("night, larger", {"night": True, "amount_minor": 5_001}, "step_up", ("night_amount",)),
    ("fourth within the window", {"count_velocity": 4}, "approve", ()),
    ("fifth within the window", {"count_velocity": 5}, "step_up", ("velocity_high",)),
    ("eleventh", {"count_velocity": 11}, "step_up", ("velocity_high",)),
    ("twelfth", {"count_velocity": 12}, "decline", ("velocity_exceeded", "velocity_high")),
    ("margin at the limit", {"margin": 0.12}, "approve", ()),
    ("thin margin", {"margin": 0.119}, "step_up", ("thin_margin",)),
    ("liveness measured, not proven", {"liveness_proven": False}, "step_up", ("liveness_unproven",)),
    ("an older agent says nothing of a proof", {"liveness_proven": None}, "step_up", ("liveness_unproven",)),
    ("nothing can tell if eyes are open", {"eyes_open": None}, "step_up", ("eyes_unknown",)),
    ("closed eyes, whoever let them vote", {"eyes_open": False}, "step_up", ("eyes_closed",)),
    ("a payer with a lookalike", {"lookalike": True}, "step_up", ("lookalike",)),
    ("an older agent says nothing of lookalikes", {"lookalike": None}, "step_up", ("lookalike_unknown",)),
    ("a lookalike who has typed a number", {"lookalike": True, "claim": "full_number"}, "step_up", ("lookalike",)),
    (
        "neither liveness nor eyes",
        {"liveness_proven": None, "eyes_open": None},
        "step_up",
        ("liveness_unproven", "eyes_unknown"),
    ),
    (
        "two step-ups",
        {"liveness_proven": False, "margin": 0.0},
        "step_up",
        ("thin_margin", "liveness_unproven"),
    ),
    (
        "a decline and step-ups: all said, the decline first",
        {"liveness_proven": False, "count_velocity": 12, "night": True, "amount_minor": 6_000},
        "decline",
        ("velocity_exceeded", "night_amount", "velocity_high", "liveness_unproven"),
    ),
]


@pytest.mark.parametrize(("what", "seen", "decision", "reasons"), ROWS)
def test_each_rule_says_its_reason(what: str, seen: dict[str, Any], decision: str, reasons: tuple[str, ...]) -> None:
    """What is seen gives this decision with all of its reasons; a step-up names its method, nothing else does."""
    judgement = judge(replace(GOOD, **seen), POLICY)
    assert (judgement.decision, judgement.reasons) == (decision, reasons), what
    assert judgement.methods == (("pin",) if decision == "step_up" else ())


def test_unproven_liveness_is_accepted_only_when_told_so() -> None:
    """The setting `accept` takes the reason away, and only that one."""
    lenient = replace(POLICY, unproven_liveness="accept")
    assert judge(replace(GOOD, liveness_proven=False), lenient).decision == "approve"
    assert judge(replace(GOOD, liveness_proven=None, margin=0.0), lenient).reasons == ("thin_margin",)
    assert judge(replace(GOOD, liveness_proven=None, eyes_open=None), lenient).reasons == ("eyes_unknown",)


def test_unknown_eyes_are_accepted_only_when_told_so() -> None:
    """The setting `accept` takes that reason away, and neither closed eyes nor an unproven liveness."""
    lenient = replace(POLICY, unknown_eyes="accept")
    assert judge(replace(GOOD, eyes_open=None), lenient).decision == "approve"
    assert judge(replace(GOOD, eyes_open=False), lenient).reasons == ("eyes_closed",)
    assert judge(replace(GOOD, eyes_open=None, liveness_proven=False), lenient).reasons == ("liveness_unproven",)


@pytest.mark.parametrize("missing", [risk.STATE_UNAVAILABLE, risk.STATE_COLD])
def test_without_a_history_nothing_is_approved(missing: str) -> None:
    """Fail closed: a missing history is a step-up with its reason first, and a decline stays one."""
    judgement = judge(GOOD, POLICY, missing=missing)
    assert (judgement.decision, judgement.methods, judgement.reasons) == ("step_up", ("pin",), (missing,))
    assert judge(replace(GOOD, amount_minor=500_001), POLICY, missing=missing).decision == "decline"


def test_the_version_changes_with_every_limit() -> None:
    """A verdict's policy version tells which limits it was judged by."""
    others = [
        replace(POLICY, unproven_liveness="accept"),
        replace(POLICY, unknown_eyes="accept"),
        replace(POLICY, step_up_minor=1),
        replace(POLICY, decline_minor=1),
        replace(POLICY, night_step_up_minor=1),
        replace(POLICY, velocity_count=1),
        replace(POLICY, velocity_decline_count=1),
        replace(POLICY, thin_margin=0.5),
    ]
    assert len({policy.version for policy in [POLICY, *others]}) == 9
    assert POLICY.version == replace(POLICY).version


@given(
    claim=st.sampled_from([None, "none", "last_four", "full_number"]),
    candidates=st.none() | st.integers(0, 10**6),
    row=st.sampled_from(ROWS),
    missing=st.sampled_from([None, risk.STATE_COLD]),
)
def test_a_claim_adds_no_trust(
    claim: ClaimKind | None, candidates: int | None, row: tuple[str, dict[str, Any], str, Any], missing: str | None
) -> None:
    """Whatever is seen is judged alike under every claim, among however many candidates."""
    seen = replace(GOOD, **row[1])
    assert judge(replace(seen, claim=claim, candidates=candidates), POLICY, missing=missing) == judge(
        seen, POLICY, missing=missing
    )


@given(
    amount=st.integers(1, 10**6),
    count=st.integers(0, 30),
    margin=st.floats(0, 2),
    night=st.booleans(),
    proven=st.none() | st.booleans(),
    eyes=st.none() | st.booleans(),
    missing=st.sampled_from([None, risk.STATE_COLD]),
)
def test_more_against_it_never_helps(
    amount: int, count: int, margin: float, night: bool, proven: bool | None, eyes: bool | None, missing: str | None
) -> None:
    """A larger amount or a higher count gives no milder decision and no lower score; the score is a ratio; reasons are
    said once; only an approval has none."""
    severity = ["approve", "step_up", "decline"]
    seen = replace(GOOD, amount_minor=amount, count_velocity=count, margin=margin, night=night)
    seen = replace(seen, liveness_proven=proven, eyes_open=eyes)
    now = judge(seen, POLICY, missing=missing)
    worse = judge(replace(seen, amount_minor=amount * 2, count_velocity=count + 3), POLICY, missing=missing)
    assert severity.index(worse.decision) >= severity.index(now.decision)
    assert worse.score >= now.score
    assert 0.0 <= now.score <= 1.0
    assert len(set(now.reasons)) == len(now.reasons)
    assert (now.decision == "approve") == (not now.reasons)
