"""The demo's parts that need no Kafka: options, strikes, processes that die and come back, enrolment meanwhile."""

from __future__ import annotations

import io
import sys
import threading
import time
from collections.abc import Generator
from pathlib import Path

import pytest
from rich.console import Console

from loadtests.demo import chaos
from loadtests.demo.enrolling import Enrolling
from loadtests.demo.live import Screen
from loadtests.demo.options import Options, resolve
from loadtests.demo.processes import Processes, Watched
from loadtests.demo.story import folder_of, remove
from loadtests.demo.traffic import Journal
from loadtests.demo.world import build, environment
from loadtests.people.cast import Payer
from pipeline.errors import KafkaUnavailable, OutsideError, UsageError
from pipeline.keys.terminals import TerminalRegistry
from pipeline.local import Addresses, Supervised
from pipeline.local.loopback import free_ports
from pipeline.settings import Settings
from pipeline.vision.models import SHIPPED
from tests.stack import wait_until

AGENTS = ("embedding", "fraud", "settlement")
SERVER = (
    "import http.server, sys\n"
    "class H(http.server.BaseHTTPRequestHandler):\n"
    "    def do_GET(self):\n"
    "        self.send_response(200); self.end_headers(); self.wfile.write(b'ok')\n"
    "    def log_message(self, *a): pass\n"
    "http.server.HTTPServer(('127.0.0.1', int(sys.argv[1])), H).serve_forever()\n"
)


def now_us() -> int:
    """This machine's clock."""
    return time.time_ns() // 1000


def payer(name: str) -> Payer:
    """Somebody to enrol."""
    return Payer(name, name, Path("a.jpg"), Path("b.jpg"), "1234")


def watched(tmp_path: Path, program: str) -> Watched:
    """A child process that runs `program` with a port."""
    (port,) = free_ports(1)
    process = Supervised("child", [sys.executable, "-c", program, str(port)], None, tmp_path / "child.log")
    return Watched(process, f"http://127.0.0.1:{port}/readyz")


def test_by_default_the_people_do_not_exist() -> None:
    """The models that ship, and nobody's portrait."""
    models, people = resolve(None, None)
    assert people is None
    assert models == SHIPPED, "a client may not import it, and must mean the same folder"
    assert list(models.glob("*.onnx"))


def test_models_and_portraits_come_together(tmp_path: Path) -> None:
    """One without the other is refused, and the sentence names what is missing."""
    assert resolve(tmp_path, tmp_path) == (tmp_path, tmp_path)
    with pytest.raises(UsageError, match=r"--models came without --people"):
        resolve(tmp_path, None)
    with pytest.raises(UsageError, match=r"--people came without --models"):
        resolve(None, tmp_path)
    with pytest.raises(UsageError, match="is no folder"):
        resolve(tmp_path / "absent", tmp_path)


@pytest.mark.parametrize(
    ("drawn", "pad", "unproven"), [(True, "required", "step_up"), (False, "report_only", "accept")]
)
def test_only_drawn_people_prove_that_they_live(*, drawn: bool, pad: str, unproven: str, tmp_path: Path) -> None:
    """Portraits are flat: there liveness is counted and does not decide."""
    options = Options(models=tmp_path, people=None if drawn else tmp_path, report=tmp_path / "r.html")
    settings = build(tmp_path, Addresses("127.0.0.1:1", "redis://127.0.0.1:2/0"), options).settings
    assert (settings.vision.pad, settings.risk.unproven_liveness, settings.risk.unknown_eyes) == (
        pad,
        unproven,
        unproven,
    )
    assert settings.vision.drawn_models == ("allowed" if drawn else "refused")


def test_a_kept_folder_is_new_and_another_is_removed(tmp_path: Path) -> None:
    """`--keep` never mixes two demos; without it nothing stays."""
    options = Options(models=tmp_path, people=tmp_path, report=tmp_path / "r.html", keep=tmp_path / "kept")
    folder = folder_of(options)
    (folder / "x").touch()
    remove(options, folder)
    assert folder.is_dir()
    with pytest.raises(UsageError, match="not empty"):
        folder_of(options)
    passing = Options(models=tmp_path, people=tmp_path, report=tmp_path / "r.html")
    folder = folder_of(passing)
    remove(passing, folder)
    assert not folder.exists()


@pytest.mark.parametrize(("seconds", "strikes"), [(3, 1), (30, 1), (60, 1), (90, 2), (180, 4)])
def test_agents_are_killed_in_turn(seconds: int, strikes: int) -> None:
    """Once in a short demo, more often in a long one; always with time left to see the recovery."""
    planned = chaos.plan(AGENTS, seconds, seed=4)
    assert len(planned) == strikes
    assert all(0 < each.at_s <= 0.9 * seconds for each in planned)
    assert len({each.target for each in planned[:3]}) == len(planned[:3])
    assert planned == chaos.plan(AGENTS, seconds, seed=4)
    assert {chaos.plan(AGENTS, 60, seed=seed)[0].target for seed in range(20)} == set(AGENTS)


def test_settings_reach_the_processes_by_their_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the demo sets comes back out of the environment as the same settings, and nothing of the person's own."""
    monkeypatch.setenv("FACEPAY_RISK__STEP_UP_MINOR", "1")
    options = Options(models=tmp_path, people=tmp_path, report=tmp_path / "r.html", terminals=3)
    world = build(tmp_path, Addresses("127.0.0.1:1", "redis://127.0.0.1:2/0"), options)
    assert "FACEPAY_RISK__STEP_UP_MINOR" not in world.environment
    for name, value in environment(world.settings).items():
        assert world.environment[name] == value
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("FACEPAY_RISK__STEP_UP_MINOR")
    assert Settings() == world.settings
    assert world.settings.risk.unproven_liveness == "accept"
    registered = TerminalRegistry(tmp_path / "keys").all()
    assert {terminal.terminal_id for terminal in registered} == set(world.credentials)
    assert len(registered) == 3


def test_a_killed_process_comes_back_and_the_outage_is_noted(tmp_path: Path) -> None:
    """From the kill to the moment it says that it is ready."""
    said: list[str] = []
    with Processes([watched(tmp_path, SERVER)], now_us, on_event=said.append) as running:
        running.wait_ready(30)
        running.kill("child")
        wait_until(lambda: running.all_ready, 30, "the child is ready again")
        (outage,) = running.outages
        assert outage.ready_at_us is not None
        assert outage.ready_at_us > outage.down_at_us
        assert running.starts == {"child": 2}
        assert running.states == {"child": "ready"}
    assert [line for line in said if "is back" in line]


def test_a_process_that_never_gets_ready_stops_the_demo(tmp_path: Path) -> None:
    """After a few tries, with its last words."""
    with (
        Processes([watched(tmp_path, "print('no model'); raise SystemExit(3)")], now_us) as running,
        pytest.raises(OutsideError, match=r"code 3: no model"),
    ):
        running.wait_ready(60)


def test_a_process_that_is_silent_is_named(tmp_path: Path) -> None:
    """One that runs but never says ready."""
    with (
        Processes([watched(tmp_path, "import time; time.sleep(60)")], now_us) as running,
        pytest.raises(OutsideError, match="not ready: child"),
    ):
        running.wait_ready(0.5)


def test_enrolment_goes_on_while_others_pay() -> None:
    """The first are waited for, the rest are told of as they come, none twice and none left out."""
    gate = threading.Event()

    def enrol() -> Generator[Payer]:
        yield payer("a")
        yield payer("b")
        gate.wait(10)
        yield payer("c")

    joined: list[str] = []
    with Enrolling(enrol()) as enrolling:
        assert [each.label for each in enrolling.first(2, 10)] == ["a", "b"]
        joined += [each.label for each in enrolling.then(lambda each: joined.append(each.label))]
        gate.set()
        wait_until(lambda: len(joined) == 3, 10, "the third has joined")
    assert joined == ["a", "b", "c"]
    assert [each.label for each in enrolling.enrolled] == joined


def test_a_failed_enrolment_is_raised_where_it_is_looked_for() -> None:
    """Not lost in its thread; and the generator is closed, so that nothing goes on behind."""
    closed = threading.Event()

    def enrol() -> Generator[Payer]:
        try:
            yield payer("a")
            raise KafkaUnavailable("enrolling: no answer")
        finally:
            closed.set()

    with Enrolling(enrol()) as enrolling, pytest.raises(KafkaUnavailable):
        enrolling.first(5, 10)
    assert closed.is_set()


@pytest.fixture
def plain() -> Console:
    """A console that is no terminal and remembers what was printed."""
    return Console(force_terminal=False, width=200, record=True, file=io.StringIO())


def test_without_a_terminal_there_are_lines(plain: Console) -> None:
    """Announcements and the summary are plain lines."""
    with Screen(plain, Journal(), lambda: {"fraud": "down"}) as screen:
        screen.announce("the fraud agent is killed")
        assert screen.summary() == "0 intents, 0 settled, 0 declined, 0 cancelled, 0 frames, fraud down"
    assert "the fraud agent is killed" in plain.export_text()
