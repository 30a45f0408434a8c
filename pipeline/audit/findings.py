"""What a check found: how much it looked at, and what was wrong, by ids and facts that name no person."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken promise: `kind` is a stable code, `subject` an id (intent, transfer, account's hash, lane)."""

    kind: str
    subject: str
    detail: str


@dataclass(frozen=True, slots=True)
class Finding:
    """The answer of one invariant; `checked` counts what was looked at, so that an empty audit is seen as one."""

    checked: int
    violations: tuple[Violation, ...]

    @classmethod
    def of(cls, checked: int, violations: Iterable[Violation]) -> Finding:
        """A finding with its violations in a stable order."""
        return cls(checked, tuple(sorted(violations, key=lambda v: (v.kind, v.subject, v.detail))))
