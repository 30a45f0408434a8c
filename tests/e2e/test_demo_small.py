"""`facepay demo` as a person runs it: small, with a killed agent, then stopped in the middle of another."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.stack import wait_until

KEYS = {
    "intents", "settled", "declined", "expired", "cancelled", "stepped_up", "refunded", "frames", "wrong_payer",
    "duplicates", "lost", "p50_ms", "p99_ms", "p99_undisturbed_ms", "settlements_per_s", "audit", "startup_s",
}  # fmt: skip
"""What `interface.md` promises of `demo --json`, at least."""


def command(report: Path, *more: str) -> list[str]:
    """The command line of a demo: people who do not exist, unless `more` says otherwise."""
    return [sys.executable, "-m", "pipeline.cli", "demo", "--json", "--report", str(report), *more]


def children_of(pid: int) -> set[int]:
    """All living descendants of a process, by the kernel's own list."""
    found: set[int] = set()
    for listed in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = listed.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found |= {int(listed.parent.name), *children_of(int(listed.parent.name))}
    return found


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_small_demo(tmp_path: Path) -> None:
    """Exit 0, every key of the interface, the right people charged once while an agent was killed, and a report. Faces
    alone are too little here: people type digits of their telephones, and their orders are opened again."""
    report = tmp_path / "report.html"
    ran = subprocess.run(
        command(report, "--seconds", "10", "--terminals", "4", "--seed", "2", "--digits"),
        capture_output=True,
        timeout=220,
        check=False,
    )
    said = ran.stderr.decode()
    assert ran.returncode == 0, said[-3000:]
    (line,) = ran.stdout.decode().splitlines()
    answer: dict[str, Any] = orjson.loads(line)
    assert set(answer) >= KEYS
    assert answer["audit"] == "ok"
    assert (answer["wrong_payer"], answer["duplicates"], answer["lost"], answer["strangers_charged"]) == (0, 0, 0, 0)
    assert answer["thefts_charged"] == 0
    ended = sum(answer[name] for name in ("settled", "declined", "expired", "cancelled"))
    assert ended == answer["intents"]
    assert answer["settled"] > 0
    assert len(answer["killed"]) == 1
    assert "CHAOS" in said
    assert "Nobody here exists" in said
    assert answer["superseded"] > 0
    html = report.read_text()
    assert html.count('<tr id="payment-') == answer["intents"] - answer["superseded"]
    assert html.count("enter_last_four") + html.count("enter last four") >= answer["settled"]
    assert "data:image/jpeg;base64," in html


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.timeout(180)
def test_a_demo_with_portraits(shared: Path, tmp_path: Path) -> None:
    """The real models on real faces: the same zeros, and it is said aloud that liveness decides nothing."""
    faces = ("--models", str(shared / "models"), "--people", str(shared / "faces" / "congress"))
    ran = subprocess.run(
        command(tmp_path / "r.html", "--seconds", "4", "--terminals", "3", "--no-chaos", *faces),
        capture_output=True,
        timeout=170,
        check=False,
    )
    said = ran.stderr.decode()
    assert ran.returncode == 0, said[-3000:]
    answer: dict[str, Any] = orjson.loads(ran.stdout.splitlines()[-1])
    assert (answer["audit"], answer["wrong_payer"], answer["lost"], answer["drawn"]) == ("ok", 0, 0, False)
    assert answer["settled"] > 0
    assert "does not decide (FACEPAY_VISION__PAD=report_only)" in said


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_demo_that_is_stopped_leaves_nothing_running(tmp_path: Path, signal_number: int) -> None:
    """Ctrl-C and SIGTERM: children are stopped, the folder is removed. SIGKILL: children are ended by their guard."""
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    log = (tmp_path / "said").open("wb")
    with (
        log,
        subprocess.Popen(
            command(tmp_path / "r.html", "--seconds", "120"),
            env=environment,
            stderr=log,
            start_new_session=True,
        ) as running,
    ):
        try:
            wait_until(lambda: b"Everything is ready" in (tmp_path / "said").read_bytes(), 120, "the demo is ready")
            children = children_of(running.pid)
            assert len(children) >= 6
            os.kill(running.pid, signal_number)
            assert running.wait(60) == (-signal.SIGKILL if signal_number == signal.SIGKILL else 130)
        finally:
            running.kill()
    wait_until(lambda: not any(alive(pid) for pid in children), 30, "all children have ended")
    assert (list(tmp_path.glob("facepay-demo-*")) == []) is (signal_number != signal.SIGKILL)


def test_without_people_the_demo_says_what_to_pass(tmp_path: Path) -> None:
    """Exit 2 and one sentence."""
    ran = subprocess.run(
        [sys.executable, "-m", "pipeline.cli", "demo", "--models", str(tmp_path), "--people", str(tmp_path / "none")],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 2
    assert b"pass an existing one" in ran.stderr
