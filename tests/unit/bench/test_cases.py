"""The door to the cases: what runs, what is skipped and what is refused; the machine; processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

from pipeline.bench import cases, codec
from pipeline.bench.cases import Case, Needs, Report
from pipeline.bench.machine import machine
from pipeline.bench.own_process import in_own_process
from pipeline.bench.rounds import ROUNDS, Sample, Spread
from pipeline.bench.rows import Row, cost_row
from pipeline.cli.program import app
from pipeline.errors import OutsideError, UsageError
from schemas.codec import TYPES

ROW = cost_row("codec.x", [Sample(1, 1.0, 1.0)], [Sample(1, 1.0, 1.0)], item="event", against="y")


@pytest.fixture
def only_codec(monkeypatch: pytest.MonkeyPatch) -> None:
    """Codec answers at once, engine and embed need models, the others are not there."""

    def measured(needs: Needs, report: Report) -> None:
        report.rows.append(ROW)

    quick = dict.fromkeys((Case.CODEC, Case.HOT, Case.MATCH, Case.SETTLE), measured)
    monkeypatch.setattr(cases, "RUN", {**cases.RUN, **quick})


def test_what_cannot_run_is_skipped_with_its_reason(only_codec: None) -> None:
    """Without a case named, absent models cost the three cases that need them and no more."""
    report = cases.run(None, Needs(), lambda _: None)
    assert len(report.rows) == 4
    assert set(report.skipped) == {"embed", "engine", "gpu"}
    assert "--models" in report.skipped["embed"]
    assert "--people" in report.skipped["embed"]


def test_a_case_that_was_asked_for_and_cannot_run_is_an_error(only_codec: None) -> None:
    """Nobody who asks for one figure is told that all is well without it."""
    with pytest.raises(UsageError, match="--models and --people"):
        cases.run(Case.ENGINE, Needs(), lambda _: None)


def test_json_is_the_last_line_and_says_rows_machine_and_rounds(only_codec: None) -> None:
    """What the command promises to programs."""
    result = CliRunner().invoke(app, ["bench", "codec", "--json"])
    assert result.exit_code == 0, result.output
    said = orjson.loads(result.stdout.strip().splitlines()[-1])
    assert said["rows"] == [ROW.as_json()]
    assert said["rounds"] == ROUNDS
    assert {"processor", "cores", "load_1min", "python", "versions"} <= set(said["machine"])


def test_a_person_gets_a_table(only_codec: None) -> None:
    """The same without `--json`."""
    result = CliRunner().invoke(app, ["bench", "codec"])
    assert result.exit_code == 0, result.output
    assert "codec.x" in result.stdout


def test_a_void_result_ends_with_1(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken invariant is an answer no, however fast."""
    row = Row(case="codec", unit="u", ours=1.0, baseline=1.0, ratio=Spread(1, 1, 1), void=["1 settlement lost"])
    monkeypatch.setattr(cases, "RUN", {Case.CODEC: lambda _, report: report.rows.append(row)})
    result = CliRunner().invoke(app, ["bench", "codec"])
    assert result.exit_code == 1
    assert "VOID" in result.stdout
    assert "1 settlement lost" in result.stdout


def test_fewer_rounds_than_mean_anything_are_refused() -> None:
    """Seven is the least."""
    assert CliRunner().invoke(app, ["bench", "codec", "--rounds", "6"]).exit_code == 2


def test_the_machine_is_named() -> None:
    """Cores that may be used, not those that are built in."""
    seen = machine()
    assert seen["processor"]
    assert seen["cores"] == len(os.sched_getaffinity(0))
    assert seen["temporary_files"] != "unknown"


def test_every_event_type_has_an_example() -> None:
    """No event is left out of the measurement."""
    assert set(codec.examples()) == set(TYPES)


def blas_threads(_: None) -> tuple[int, str | None]:
    """In the other process: who it is and what it was told."""
    return os.getpid(), os.environ.get("OPENBLAS_NUM_THREADS")


def die(status: int) -> None:
    """As a loop that judges that it cannot go on."""
    os._exit(status)


def wait_for_ever(_: None) -> None:
    """A loop that hangs."""
    while True:
        os.sched_yield()


def test_a_round_has_a_process_of_its_own_with_blas_held_to_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `facepay agent` has it; it does not stay with us, and what a person has set counts."""
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    first = in_own_process(blas_threads, None)
    assert "OPENBLAS_NUM_THREADS" not in os.environ
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "2")
    second = in_own_process(blas_threads, None)
    assert (first[1], second[1]) == ("1", "2")
    assert len({first[0], second[0], os.getpid()}) == 3


def test_an_agent_holds_blas_to_one_thread_before_numpy_is_there() -> None:
    """Threads of the search would spin on the cores of the models; the setting counts only before the import."""
    program = (
        "import sys, os, types\n"
        "told = []\n"
        "fake = types.ModuleType('pipeline.bootstrap')\n"
        "fake.run_agent = lambda *_: told.append(os.environ['OPENBLAS_NUM_THREADS']) or 0\n"
        "sys.modules['pipeline.bootstrap'] = fake\n"
        "from pipeline.cli.program import app\n"
        "app(['agent', 'embedding'], standalone_mode=False)\n"
        "assert told == ['1'], told\n"
        "assert 'numpy' not in sys.modules\n"
    )
    env = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    ended = subprocess.run([sys.executable, "-c", program], env=env, check=False, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


def test_a_loop_that_ends_itself_is_an_error_and_not_the_end_of_the_benchmark() -> None:
    """Exit 70 in there is one sentence here."""
    with pytest.raises(OutsideError, match="die in a process of its own"):
        in_own_process(die, 70)


def test_a_loop_that_hangs_is_ended() -> None:
    """The limit holds whatever the loop does."""
    with pytest.raises(OutsideError, match="took longer than 1 s"):
        in_own_process(wait_for_ever, None, limit_s=1.0)


def test_models_that_are_no_folder_are_refused(tmp_path: Path) -> None:
    """The vision engine's own sentence, unchanged."""
    with pytest.raises(OutsideError, match="models"):
        cases.run(Case.EMBED, Needs(tmp_path / "none", tmp_path, ROUNDS), lambda _: None)
