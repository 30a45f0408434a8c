"""Nothing that a process has started outlives it, however it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.local.jars import jar_dir
from tests.integration.local.processes import commands_with, is_running
from tests.stack import wait_until

_CHILDREN = """
import json, os, signal, sys, threading
from pathlib import Path
from pipeline.local import Supervised, guard
folder = Path(sys.argv[1])
children = [
    Supervised("polite", ["sleep", "300"], None, folder / "polite.log"),
    Supervised("stubborn", [sys.executable, "-c", sys.argv[2]], None, folder / "stubborn.log", grace_s=0.5),
    Supervised("paused", [sys.executable, "-c", sys.argv[3]], None, folder / "paused.log", grace_s=60),
    Supervised("family", ["/bin/sh", "-c", "sleep 300 & echo $!; wait"], None, folder / "family.log"),
]
for child in children:
    thread = threading.Thread(target=child.start)  # the thread that started a child ends at once
    thread.start()
    thread.join()
family = children[3]
family.wait_until(lambda: all(child.log_lines() for child in children[1:]), 20)
children[2].pause()
pids = [child.pid for child in children] + [int(family.log_lines()[0]), guard._guards._current.process.pid]
if "fork" in sys.argv[4:] and os.fork() == 0:
    print(json.dumps({"pids": pids, "copy": os.getpid()}), flush=True)
    signal.pause()
elif "fork" not in sys.argv[4:]:
    print(json.dumps({"pids": pids}), flush=True)
if "leave" not in sys.argv[4:]:
    signal.pause()
"""
_HANDLING = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("up", flush=True)
time.sleep(300)
"""
_STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(300)"
)
_STACK = """
import json, signal, sys
from pathlib import Path
from pipeline.local import LocalStack, guard
try:
    with LocalStack(Path(sys.argv[1])) as stack:
        pids = [stack.kafka.pid, stack.redis.pid, guard._guards._current.process.pid]
        print(json.dumps({"pids": pids, "kafka": stack.addresses.kafka}), flush=True)
        signal.pause()
except KeyboardInterrupt:
    sys.exit(130)
"""


class Parent:
    """A Python process in a session of its own, like one started from a terminal, that has told about its children."""

    def __init__(self, root: Path, program: str, *argv: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", program, *argv],
            cwd=root,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def told(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            pytest.fail(f"the parent ended early: {self.process.communicate()[1]}")
        said: dict[str, Any] = json.loads(line)
        return said

    def close(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()


@pytest.fixture
def parents() -> Iterator[list[Parent]]:
    """Parents that a test has started; none stays after it."""
    started: list[Parent] = []
    yield started
    for parent in started:
        parent.close()


def ended(pids: list[int], timeout_s: float = 15) -> None:
    wait_until(lambda: not [pid for pid in pids if is_running(pid)], timeout_s, f"the end of {pids}")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_children_end_when_a_signal_ends_their_parent(
    tmp_path: Path, root: Path, parents: list[Parent], number: int
) -> None:
    """A polite child, one that ignores SIGTERM, a paused one, a child's child, and the guard itself."""
    parents.append(Parent(root, _CHILDREN, str(tmp_path), _STUBBORN, _HANDLING))
    pids = parents[0].told()["pids"]
    assert all(is_running(pid) for pid in pids)
    os.kill(parents[0].process.pid, number)
    parents[0].process.wait(10)
    ended(pids)


def test_children_end_when_their_parent_returns_without_stopping_them(
    tmp_path: Path, root: Path, parents: list[Parent]
) -> None:
    """A forgotten `stop` leaves nothing behind."""
    parents.append(Parent(root, _CHILDREN, str(tmp_path), _STUBBORN, _HANDLING, "leave"))
    pids = parents[0].told()["pids"]
    parents[0].process.wait(10)
    ended(pids)


def test_children_end_although_a_forked_copy_of_their_parent_lives(
    tmp_path: Path, root: Path, parents: list[Parent]
) -> None:
    """The copy holds the guard's pipe open, so its end alone would say nothing."""
    parents.append(Parent(root, _CHILDREN, str(tmp_path), _STUBBORN, _HANDLING, "fork"))
    said = parents[0].told()
    try:
        os.kill(parents[0].process.pid, signal.SIGKILL)
        parents[0].process.wait(10)
        ended(said["pids"])
        assert is_running(said["copy"])
    finally:
        os.kill(said["copy"], signal.SIGKILL)


def test_a_child_that_is_not_yet_watched_never_begins(tmp_path: Path, root: Path, parents: list[Parent]) -> None:
    """The parent is killed between starting the child and telling the guard: the program is never run."""
    program = """
import json, os, signal, sys
from pathlib import Path
from pipeline.local import Supervised, guard
def killed(pid, grace_s):
    print(json.dumps({"pids": [pid]}), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
guard.watch = killed
Supervised("child", ["/bin/sh", "-c", "echo ran; sleep 300"], None, Path(sys.argv[1]) / "log").start()
"""
    parents.append(Parent(root, program, str(tmp_path)))
    pids = parents[0].told()["pids"]
    parents[0].process.wait(10)
    ended(pids)
    assert (tmp_path / "log").read_text("utf-8") == ""


def test_kafka_and_redis_end_when_their_parent_is_killed(
    tmp_path: Path, root: Path, parents: list[Parent], warm_jars: Path
) -> None:
    """kill -9 of whoever runs a stack: no server, no guard; the data stays and starts again."""
    parents.append(Parent(root, _STACK, str(tmp_path)))
    pids = parents[0].told()["pids"]
    os.kill(parents[0].process.pid, signal.SIGKILL)
    parents[0].process.wait(10)
    ended(pids)
    assert not commands_with(str(tmp_path))
    assert (tmp_path / "kafka" / "data" / ".kafka_cleanshutdown").exists(), "the guard asks before it kills"
    parents.append(Parent(root, _STACK, str(tmp_path)))
    assert all(is_running(pid) for pid in parents[1].told()["pids"])


def test_ctrl_c_stops_a_stack_cleanly_and_removes_nothing(
    tmp_path: Path, root: Path, parents: list[Parent], warm_jars: Path
) -> None:
    """SIGINT to the terminal's group reaches the parent only, which lets Kafka close its files; all files stay."""
    (tmp_path / "mine.txt").write_text("kept", "utf-8")
    parents.append(Parent(root, _STACK, str(tmp_path)))
    pids = parents[0].told()["pids"]
    os.killpg(parents[0].process.pid, signal.SIGINT)
    _, errors = parents[0].process.communicate(timeout=20)
    assert parents[0].process.returncode == 130
    assert errors == ""
    assert not any(is_running(pid) for pid in pids), "the parent waits for its children"
    assert (tmp_path / "kafka" / "data" / ".kafka_cleanshutdown").exists()
    assert "bye bye" in (tmp_path / "redis" / "redis.log").read_text("utf-8")
    assert (tmp_path / "mine.txt").read_text("utf-8") == "kept"
    assert jar_dir() == warm_jars
    assert list(warm_jars.glob("*.jar"))


def test_ctrl_c_during_the_start_leaves_nothing_running(
    tmp_path: Path, root: Path, parents: list[Parent], warm_jars: Path
) -> None:
    """Interrupted while Kafka comes up."""
    parents.append(Parent(root, _STACK, str(tmp_path)))
    settings = tmp_path / "kafka" / "server.properties"
    wait_until(settings.exists, 20, "Kafka's settings")
    os.killpg(parents[0].process.pid, signal.SIGINT)
    parents[0].process.communicate(timeout=20)
    assert parents[0].process.returncode == 130
    assert not commands_with(str(tmp_path))
    assert not [line for line in commands_with("kafka.Kafka") if str(tmp_path) in line]
