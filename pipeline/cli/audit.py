"""`facepay audit`: replays the topics and the ledger and checks every invariant."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import Annotated

import typer

from pipeline.cli import console
from pipeline.cli.console import JsonFlag
from pipeline.errors import UsageError

SHOWN = 20
"""Violations printed per invariant; `--json` has them all."""


def audit(
    since: Annotated[
        str | None,
        typer.Option(help="Judge payments opened since: ISO 8601, or an age such as 15m, 12h, 30d.", metavar="T"),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Check every invariant over what was recorded; exit 1 when one is broken."""
    from pipeline.audit.invariants import TITLES, as_json, broken, examine
    from pipeline.audit.loading import load

    now_us = time.time_ns() // 1000
    since_us = None if since is None else parse_since(since, now_us)
    history = load(console.settings(), lambda: time.time_ns() // 1000, since_us=since_us)
    findings = examine(history)
    wrong = broken(findings)
    result = {**as_json(findings), "undecodable": history.undecodable}

    def show() -> None:
        for name, finding in findings.items():
            mark = "[red]BROKEN[/red]" if finding.violations else "[green]ok    [/green]"
            console.out.print(f"{mark} {name}  ", end="")
            console.out.print(f"{TITLES[name]} ({finding.checked} checked)", highlight=False, markup=False)
            for violation in finding.violations[:SHOWN]:
                console.out.print(
                    f"          {violation.kind} {violation.subject}: {violation.detail}",
                    highlight=False,
                    markup=False,
                    soft_wrap=True,
                )
            if len(finding.violations) > SHOWN:
                console.out.print(f"          and {len(finding.violations) - SHOWN} more; --json lists them all")
        if history.undecodable:
            console.note(f"{history.undecodable} records are no events; the dead letter has them with their reasons")

    console.finish(result, as_json=json, show=show, ok=not wrong)


def parse_since(text: str, now_us: int) -> int:
    """A time in microseconds UTC from ISO 8601 (without a zone: UTC) or an age; raises `UsageError`."""
    age = re.fullmatch(r"([0-9]{1,9})([smhd])", text)
    if age is not None:
        seconds = int(age[1]) * {"s": 1, "m": 60, "h": 3_600, "d": 86_400}[age[2]]
        return max(0, now_us - seconds * 1_000_000)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"reading --since {text!r}: it is neither ISO 8601 nor an age; try 2026-03-01T12:00 or 15m"
        ) from None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return int(at.timestamp() * 1_000_000)
