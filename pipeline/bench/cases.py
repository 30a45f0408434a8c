"""All cases behind one door: what each needs, what can run here, and what was skipped and why."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path

from pipeline.bench.machine import machine
from pipeline.bench.rounds import ROUNDS
from pipeline.bench.rows import Row
from pipeline.errors import OutsideError, UsageError
from pipeline.settings import Kafka

LONG_S = 1_800.0


class Case(StrEnum):
    """What can be measured."""

    CODEC = "codec"
    EMBED = "embed"
    ENGINE = "engine"
    GPU = "gpu"
    HOT = "hot"
    MATCH = "match"
    SETTLE = "settle"


@dataclass(frozen=True, slots=True)
class Needs:
    """What the cases may use; None where it was not given and does not lie beside."""

    models: Path | None = None
    people: Path | None = None
    rounds: int = ROUNDS


@dataclass(slots=True)
class Report:
    """What a run of cases found."""

    rounds: int
    machine: Mapping[str, object] = field(default_factory=machine)
    rows: list[Row] = field(default_factory=list)
    stages: list[object] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)

    @property
    def void(self) -> list[str]:
        """Cases whose invariants were broken."""
        return [row.case for row in self.rows if row.void]

    def as_json(self) -> dict[str, object]:
        """As `--json` prints it."""
        return {
            "rows": [row.as_json() for row in self.rows],
            "stages": [asdict(stage) for stage in self.stages],  # type: ignore[call-overload]
            "skipped": self.skipped,
            "rounds": self.rounds,
            "machine": self.machine,
        }


def beside(checkout: Path) -> tuple[Path | None, Path | None]:
    """The folders of models and portraits that lie beside a checkout, as far as they are there."""
    shared = checkout.parent / "shared"
    found = [folder if folder.is_dir() else None for folder in (shared / "models", shared / "faces" / "congress")]
    return found[0], found[1]


def run(case: Case | None, needs: Needs, say: Callable[[str], None]) -> Report:
    """One case, or all that can run here. One that was asked for and cannot run is an error; of all, it is skipped."""
    report = Report(needs.rounds)
    for each in Case if case is None else [case]:
        say(f"{each.value}: {needs.rounds} rounds after one that is not counted")
        try:
            RUN[each](needs, report)
        except (UsageError, OutsideError) as error:
            if case is not None:
                raise
            report.skipped[each.value] = str(error)
            say(f"{each.value}: skipped: {error}")
    return report


def _codec(needs: Needs, report: Report) -> None:
    from pipeline.bench import codec

    report.rows += codec.run(needs.rounds)


def _embed(needs: Needs, report: Report) -> None:
    from pipeline.bench import embed

    rows, stages = embed.run(needs.rounds, *_folders(needs))
    report.rows += rows
    report.stages += stages


def _engine(needs: Needs, report: Report) -> None:
    from pipeline.bench import engine

    folders = _folders(needs)
    with _own_kafka() as (kafka, folder):
        rows, stages = engine.run(needs.rounds, *folders, kafka, folder)
    report.rows += rows
    report.stages += stages


def _gpu(needs: Needs, report: Report) -> None:
    from pipeline.bench import gpu

    report.rows += gpu.run(needs.rounds, *_folders(needs))


def _hot(needs: Needs, report: Report) -> None:
    from pipeline.bench import hot

    rows, skipped = hot.run(hot.HotPlan(rounds=needs.rounds, models=needs.models, people=needs.people))
    report.rows += rows
    report.skipped.update(skipped)


def _match(needs: Needs, report: Report) -> None:
    from pipeline.bench import match
    from pipeline.bench.own_process import in_own_process

    report.rows += in_own_process(match.run, match.MatchPlan(needs.rounds), limit_s=LONG_S)


def _settle(needs: Needs, report: Report) -> None:
    from pipeline.bench import settle

    with _own_kafka() as (kafka, folder):
        report.rows += settle.run(needs.rounds, kafka, folder)


RUN: Mapping[Case, Callable[[Needs, Report], None]] = {
    Case.CODEC: _codec,
    Case.EMBED: _embed,
    Case.ENGINE: _engine,
    Case.GPU: _gpu,
    Case.HOT: _hot,
    Case.MATCH: _match,
    Case.SETTLE: _settle,
}


@contextmanager
def _own_kafka() -> Iterator[tuple[Kafka, Path]]:
    """A Kafka for one benchmark, with a folder; both are gone afterwards."""
    from pipeline.local import LocalStack

    with tempfile.TemporaryDirectory(prefix="facepay-bench-") as name:
        folder = Path(name)
        with LocalStack(folder / "stack", redis=False) as stack:
            yield Kafka(bootstrap=stack.addresses.kafka), folder


def _folders(needs: Needs) -> tuple[Path, Path]:
    if needs.models is None or needs.people is None:
        missing = [name for name, value in (("--models", needs.models), ("--people", needs.people)) if value is None]
        raise UsageError(
            "measuring with real models: nothing was found beside this checkout (../shared); pass"
            f" {' and '.join(missing)}: a folder of the ONNX models, a folder of portraits"
        )
    return needs.models, needs.people
