"""`Supervised`: one child process, its ends and its restarts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import OutsideError, UsageError
from pipeline.local import Supervised
from tests.integration.local.processes import is_running
from tests.stack import wait_until

STUBBORN = """
import signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
while True:
    time.sleep(60)
"""

POLITE = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
print("ready", flush=True)
while True:
    signal.pause()
"""


def child(tmp_path: Path, *argv: str, grace_s: float = 10.0) -> Supervised:
    return Supervised("child", argv, None, tmp_path / "child.log", tmp_path, grace_s=grace_s)


def test_the_pid_is_the_programs_own_and_its_output_is_in_the_log(tmp_path: Path) -> None:
    """What holds the child back before it is watched leaves no process in between."""
    run = child(
        tmp_path, sys.executable, "-c", "import os, sys; print(os.getpid(), os.getcwd(), sys.stdin.read() == '')"
    )
    run.start()
    assert run.wait(10) == 0
    assert run.log_lines() == [f"{run.pid} {tmp_path} True"]


def test_it_tells_how_the_child_ended(tmp_path: Path) -> None:
    """An exit code as it is, a signal as its negative number, None while it runs."""
    run = child(tmp_path, sys.executable, "-c", "raise SystemExit(70)")
    run.start()
    assert run.wait(10) == 70
    assert not run.alive
    sleeper = child(tmp_path, "sleep", "60")
    sleeper.start()
    assert sleeper.wait(0) is None
    assert sleeper.alive
    sleeper.kill()
    assert sleeper.returncode == -signal.SIGKILL
    assert sleeper.stop() == -signal.SIGKILL, "stopping what has ended does nothing"


def test_stop_asks_first_and_kills_after_the_grace(tmp_path: Path) -> None:
    """SIGTERM ends a child that listens to it; SIGKILL one that does not."""
    polite = child(tmp_path, "sleep", "60")
    polite.start()
    assert polite.stop() == -signal.SIGTERM
    stubborn = child(tmp_path, sys.executable, "-c", STUBBORN)
    stubborn.start()
    wait_until(lambda: "ready" in stubborn.log_lines(), 10, "the child that ignores SIGTERM")
    assert stubborn.stop(grace_s=0.2) == -signal.SIGKILL


def test_a_paused_child_is_stopped_cleanly(tmp_path: Path) -> None:
    """A paused process cannot handle SIGTERM until it goes on: `stop` lets it."""
    run = child(tmp_path, sys.executable, "-c", POLITE)
    run.start()
    wait_until(lambda: "ready" in run.log_lines(), 10, "the child that handles SIGTERM")
    run.pause()
    assert run.alive
    assert run.stop() == 7


def test_a_restart_is_a_new_process_with_its_own_part_of_the_log(tmp_path: Path) -> None:
    """The log goes on, but `log_lines` shows the last run."""
    run = child(tmp_path, sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(60)")
    run.start()
    wait_until(run.log_lines, 10, "the first run's line")
    first = run.pid
    run.restart()
    wait_until(run.log_lines, 10, "the second run's line")
    assert run.pid != first
    assert run.log_lines() == [str(run.pid)]
    assert run.log_path.read_text("utf-8").split() == [str(first), str(run.pid)]
    run.stop()


def test_a_running_child_is_not_started_twice(tmp_path: Path) -> None:
    """A second start would lose the first process."""
    run = child(tmp_path, "sleep", "60")
    run.start()
    with pytest.raises(UsageError, match="runs already as process"):
        run.start()
    run.stop()


@pytest.mark.parametrize("argv", [("/nowhere/program",), ("no-such-program-on-path",)])
def test_a_program_that_is_not_there_is_one_sentence(tmp_path: Path, argv: tuple[str, ...]) -> None:
    """Found before anything is started."""
    with pytest.raises(OutsideError, match="child cannot start: there is no program"):
        child(tmp_path, *argv).start()


def test_a_log_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    """The path is named."""
    run = Supervised("child", ["sleep", "60"], None, tmp_path / "missing" / "child.log")
    with pytest.raises(OutsideError, match=r"child cannot start: .*child\.log"):
        run.start()


def test_what_a_child_leaves_in_its_group_ends_with_it(tmp_path: Path) -> None:
    """A grandchild whose parent has ended is nobody's: it must not stay."""
    run = child(tmp_path, "/bin/sh", "-c", "sleep 60 & echo $!")
    run.start()
    run.wait(10)
    (grandchild,) = map(int, run.log_lines())
    wait_until(lambda: not is_running(grandchild), 10, "the grandchild's end")


def test_a_forked_copy_cannot_end_its_parents_child(tmp_path: Path, root: Path) -> None:
    """`stop` and `alive` in the copy touch nothing: the child is its parent's."""
    program = """
import os, sys
from pathlib import Path
from pipeline.local import Supervised
child = Supervised("child", ["sleep", "60"], None, Path(sys.argv[1]))
child.start()
copy = os.fork()
if copy == 0:
    child.stop()
    os._exit(9 if child.alive else 0)
_, status = os.waitpid(copy, 0)
print(os.waitstatus_to_exitcode(status), child.alive)
child.stop()
"""
    call = [sys.executable, "-W", "ignore", "-c", program, str(tmp_path / "log")]
    done = subprocess.run(call, cwd=root, capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == "0 True\n"


def test_the_guard_ends_when_it_watches_nobody(tmp_path: Path) -> None:
    """One guard for all children of a process, none without children."""
    from pipeline.local import guard

    one, two = child(tmp_path, "sleep", "60"), child(tmp_path, "sleep", "60")
    one.start()
    watching = guard._guards._current
    assert watching is not None
    two.start()
    assert guard._guards._current is watching
    one.stop()
    assert is_running(watching.process.pid)
    two.stop()
    if guard._guards._current is watching:  # the session's stack is watched by the same guard
        assert watching.watched
    else:
        assert not is_running(watching.process.pid)


def test_a_child_that_has_ended_is_no_longer_watched(tmp_path: Path) -> None:
    """Its number may be another process's by the time this process ends."""
    from pipeline.local import guard

    stays, ends = child(tmp_path, "sleep", "60"), child(tmp_path, "true")
    stays.start()
    ends.start()
    ends.wait(10)
    assert guard._guards._current is not None
    assert ends.pid not in guard._guards._current.watched
    assert stays.pid in guard._guards._current.watched
    stays.stop()


def test_environment_and_signals_are_the_childs_own(tmp_path: Path) -> None:
    """`env` replaces the environment; the child leads its own session, out of the terminal's reach."""
    run = Supervised(
        "child", ["/bin/sh", "-c", "echo $WORD; sleep 60"], {"WORD": "x", "PATH": os.environ["PATH"]}, tmp_path / "log"
    )
    run.start()
    wait_until(run.log_lines, 10, "the child's line")
    assert run.log_lines() == ["x"]
    assert os.getsid(run.pid) == run.pid != os.getsid(0)
    run.stop()
