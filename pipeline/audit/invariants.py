"""The promises by their names, and all of them over one history. Pure: equal histories give equal answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from types import MappingProxyType

from pipeline.audit.emission import outbox_and_offsets_agree
from pipeline.audit.evidence import settled_on_evidence
from pipeline.audit.findings import Finding
from pipeline.audit.history import History
from pipeline.audit.money import books_balance, one_effect_per_settlement
from pipeline.audit.outcomes import one_outcome_in_time

INVARIANTS: Mapping[str, Callable[[History], Finding]] = MappingProxyType(
    {
        "I1": one_outcome_in_time,
        "I2": books_balance,
        "I3": one_effect_per_settlement,
        "I4": settled_on_evidence,
        "I5": outbox_and_offsets_agree,
    }
)

TITLES: Mapping[str, str] = MappingProxyType(
    {
        "I1": "each intent has one final outcome, in time; none is settled after its deadline",
        "I2": "debits equal credits; settled is within authorised, refunded within settled",
        "I3": "each settlement moved money once",
        "I4": "each settlement rests on the evidence that its method needs",
        "I5": "the ledger's offsets and outbox agree with Kafka",
    }
)


def examine(history: History) -> Mapping[str, Finding]:
    """Every invariant's finding, by name."""
    return {name: invariant(history) for name, invariant in INVARIANTS.items()}


def broken(findings: Mapping[str, Finding]) -> list[str]:
    """The names of the invariants that do not hold."""
    return [name for name, finding in findings.items() if finding.violations]


def as_json(findings: Mapping[str, Finding]) -> dict[str, object]:
    """`ok` and `invariants` as the command line prints them."""
    return {"ok": not broken(findings), "invariants": {name: asdict(finding) for name, finding in findings.items()}}
