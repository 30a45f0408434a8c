"""The setup script knows when an environment is finished, and says in one sentence when it cannot make one."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def setup(root: Path) -> ModuleType:
    """.ci/setup.py as a module: it is a script, and no package."""
    spec = importlib.util.spec_from_file_location("facepay_setup", root / ".ci" / "setup.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def project(setup: ModuleType, tmp_path: Path) -> Path:
    """A project whose `dev` environment is finished."""
    for name in (
        "requirements/build.txt",
        "requirements/run.txt",
        "requirements/dev.txt",
        "pyproject.toml",
        ".ci/setup.py",
    ):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"{name}\n")
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    (programs / "python").symlink_to(sys.executable)
    (programs / "facepay").touch()
    (tmp_path / ".venv" / "facepay-setup").write_text(f"dev {setup.fingerprint('dev', tmp_path)}\n")
    return tmp_path


def untouched(project: Path) -> None:
    """Nothing happened since."""
    assert project.is_dir()


def requirement_changed(project: Path) -> None:
    """A package has another version."""
    (project / "requirements" / "dev.txt").write_text("another\n")


def requirement_of_the_other_level_changed(project: Path) -> None:
    """`run` is not what this environment was made from."""
    (project / "requirements" / "run.txt").write_text("another\n")


def project_changed(project: Path) -> None:
    """pyproject.toml may name other scripts."""
    (project / "pyproject.toml").write_text("another\n")


def stamp_removed(project: Path) -> None:
    """A setup was cut off."""
    (project / ".venv" / "facepay-setup").unlink()


def stamp_torn(project: Path) -> None:
    """A disk was full."""
    (project / ".venv" / "facepay-setup").write_text("dev")


def program_removed(project: Path) -> None:
    """Somebody uninstalled the project."""
    (project / ".venv" / "bin" / "facepay").unlink()


def python_removed(project: Path) -> None:
    """The Python it was made with is gone."""
    (project / ".venv" / "bin" / "python").unlink()


@pytest.mark.parametrize(
    ("happened", "level", "satisfied"),
    [
        (untouched, "dev", True),
        (untouched, "run", True),
        (untouched, "gpu", False),
        (requirement_of_the_other_level_changed, "dev", True),
        (requirement_changed, "dev", False),
        (project_changed, "dev", False),
        (stamp_removed, "dev", False),
        (stamp_torn, "dev", False),
        (program_removed, "dev", False),
        (python_removed, "dev", False),
    ],
)
def test_work_is_left_unless_all_agrees(
    setup: ModuleType, project: Path, happened: Callable[[Path], None], level: str, satisfied: bool
) -> None:
    """Setup does nothing only where the level is there and everything it was made from is unchanged."""
    happened(project)
    assert setup.satisfied(level, project, project / ".venv") is satisfied


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ("created, but ensurepip is not available", "install it"),
        ("/usr/bin/python3: No module named venv", "install it"),
        ("first\nno space left on device", "no space left on device"),
        ("", "it gave no reason"),
    ],
)
def test_a_failed_environment_is_one_sentence(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: str, sentence: str
) -> None:
    """The person learns what to install, or what Python said, and no half-made folder is left."""
    monkeypatch.setattr(setup, "ask", lambda *_command: (1, said))
    with pytest.raises(setup.SetupError) as caught:
        setup.make_venv(tmp_path / ".venv")
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / ".venv").exists()


def test_what_was_cut_off_is_started_over(setup: ModuleType, monkeypatch: pytest.MonkeyPatch, project: Path) -> None:
    """A mark left behind means packages that may look installed and are not: the folder is made anew."""
    stamp_removed(project)
    venv = project / ".venv"
    (venv / "facepay-setup.busy").touch()
    monkeypatch.setattr(setup, "make_venv", lambda venv: (venv / "bin").mkdir(parents=True))
    monkeypatch.setattr(setup, "install", lambda *_: None)
    setup.build("dev", project, venv)
    assert not (venv / "bin" / "facepay").exists()
    assert (venv / "facepay-setup").read_text() == f"dev {setup.fingerprint('dev', project)}\n"
    assert not (venv / "facepay-setup.busy").exists()


def test_a_failed_install_leaves_its_mark(setup: ModuleType, monkeypatch: pytest.MonkeyPatch, project: Path) -> None:
    """An environment is finished when the stamp says so, never before."""
    requirement_changed(project)
    monkeypatch.setattr(setup, "call", lambda *_command, **_options: 1)
    with pytest.raises(setup.SetupError, match="stopped while fetching uv"):
        setup.build("dev", project, project / ".venv")
    assert not (project / ".venv" / "facepay-setup").exists()
    assert (project / ".venv" / "facepay-setup.busy").exists()


def test_the_finished_environment_is_left_alone(setup: ModuleType, root: Path) -> None:
    """A second `make setup` is instant and silent; an environment older than what it is made from is not trusted."""
    venv = root / ".venv"
    if not (venv / "facepay-setup").exists():
        pytest.skip("these tests run in an environment that make did not build")
    # Asked first: a test never rebuilds the environment it runs in.
    assert setup.satisfied("dev", root, venv), "the environment is older than its requirements: run `make setup`"
    done = subprocess.run(
        [sys.executable, root / ".ci" / "setup.py", "dev"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
