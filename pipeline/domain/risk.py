"""The rules that judge a recognition: approve, step up to another proof, or decline, with every reason named.

Theory of operation: a rule is a row of `RULES`: its reason code, what it asks for, how much it weighs, and its
condition over features and policy. All rules are read; a decline beats a step-up, a step-up beats an approval, and the
reasons of all rules that hold are listed, declines first. No rule is milder for a claim: digits that the payer typed
say among whom the face was looked for, and are no second proof. Without a history that can be trusted the rules still
count, and the judgement is never an approval: fail closed for money.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import orjson

from pipeline.domain.features import Features
from schemas.codec import sha256_hex

Decision = Literal["approve", "step_up", "decline"]
Method = Literal["pin"]

STATE_UNAVAILABLE = "risk_state_unavailable"
STATE_COLD = "risk_state_cold"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The limits in force; amounts in minor units, hours in UTC."""

    unproven_liveness: Literal["step_up", "accept"]
    unknown_eyes: Literal["step_up", "accept"]
    step_up_minor: int
    decline_minor: int
    night_step_up_minor: int
    velocity_count: int
    velocity_decline_count: int
    thin_margin: float

    @property
    def version(self) -> str:
        """A name that changes with every limit and with the set of rules."""
        rules = [(rule.reason, rule.effect, rule.weight) for rule in RULES]
        return "rules-1." + sha256_hex(orjson.dumps([self, rules], option=orjson.OPT_SORT_KEYS))[:12]


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the rules say; `score` is 0 (nothing against it) .. 1."""

    decision: Decision
    methods: tuple[Method, ...]
    reasons: tuple[str, ...]
    score: float


@dataclass(frozen=True, slots=True)
class Rule:
    """One row: it holds when `when(features, policy)` does."""

    reason: str
    effect: Literal["step_up", "decline"]
    weight: float
    when: Callable[[Features, Policy], bool]


RULES: tuple[Rule, ...] = (
    Rule("amount_over_limit", "decline", 1.0, lambda f, p: f.amount_minor > p.decline_minor),
    Rule("velocity_exceeded", "decline", 0.9, lambda f, p: f.count_velocity >= p.velocity_decline_count),
    Rule("amount_high", "step_up", 0.4, lambda f, p: f.amount_minor > p.step_up_minor),
    Rule("night_amount", "step_up", 0.4, lambda f, p: f.night and f.amount_minor > p.night_step_up_minor),
    Rule("velocity_high", "step_up", 0.5, lambda f, p: f.count_velocity >= p.velocity_count),
    Rule("thin_margin", "step_up", 0.5, lambda f, p: f.margin < p.thin_margin),
    # A measured liveness is no proof: its detector must have been shown to work on such pictures (`liveness_proven`).
    Rule(
        "liveness_unproven",
        "step_up",
        0.3,
        lambda f, p: f.liveness_proven is not True and p.unproven_liveness == "step_up",
    ),
    Rule("eyes_unknown", "step_up", 0.2, lambda f, p: f.eyes_open is None and p.unknown_eyes == "step_up"),
    # The embedding agent lets no closed eye vote; whoever says otherwise is not trusted, whatever the policy.
    Rule("eyes_closed", "step_up", 0.8, lambda f, _: f.eyes_open is False),
    # A face that the gallery has twice, or nearly so, proves neither of the two, whoever claims what.
    Rule("lookalike", "step_up", 0.5, lambda f, _: f.lookalike is True),
    # An embedding agent that knows nothing of lookalikes may have met one.
    Rule("lookalike_unknown", "step_up", 0.3, lambda f, _: f.lookalike is None),
)


def judge(features: Features, policy: Policy, *, missing: str | None = None) -> Judgement:
    """The judgement of one recognition. `missing` is the reason why the history behind `features` cannot be trusted
    (`STATE_UNAVAILABLE`, `STATE_COLD`): it asks for a step-up at least."""
    held = [rule for rule in RULES if rule.when(features, policy)]
    declines = tuple(rule.reason for rule in held if rule.effect == "decline")
    step_ups = tuple(rule.reason for rule in held if rule.effect == "step_up")
    if missing is not None:
        step_ups = (missing, *step_ups)
    clear = 0.5 if missing is not None else 1.0
    for rule in held:
        clear *= 1.0 - rule.weight
    score = round(1.0 - clear, 4)
    if declines:
        return Judgement("decline", (), (*declines, *step_ups), score)
    if step_ups:
        return Judgement("step_up", ("pin",), step_ups, score)
    return Judgement("approve", (), (), score)
