"""Builds a virtual environment from hashed requirements, on a machine that has only Python 3.11 or newer.

Four levels: `run` (what the program needs) and `dev` (that and what checks it), both in `.venv`; `gpu` (as `dev`, with
ONNX Runtime's GPU wheel) in `.venv-gpu`, because the two wheels share a folder; `train` (as `dev`, with PyTorch) in
`.venv-train`, because it takes gigabytes that only who trains models needs. The steps:

1. make the environment with the standard library's `venv`,
2. let its pip fetch uv, pinned by version and hash (`requirements/build.txt`),
3. let uv make the environment equal to the level's requirements, each file checked against its hash,
4. install this project in place, from what is already there.

A stamp, written last, names everything the environment was made from; while it agrees there is nothing to do. A second
mark stands while work is going on: a setup that finds it left behind was preceded by one that was cut off, and starts
over (from uv's cache, so in seconds). A lock keeps two at the same time apart. A working environment keeps the Python
it was made with: `make clean` first to change it. No uv of the machine, no cache of the user and no network address is
assumed; uv and pip use what the user has configured.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OLDEST = (3, 11)
# Where a level lives, and which finished levels contain it.
FOLDERS = {"run": ".venv", "dev": ".venv", "gpu": ".venv-gpu", "train": ".venv-train"}
CONTAINED_IN = {"run": ("run", "dev"), "dev": ("dev",), "gpu": ("gpu",), "train": ("train",)}
# The interpreter itself, also when `make` is called from inside the environment that is about to be replaced.
PYTHON = Path(sys.executable).resolve()


class SetupError(Exception):
    """One sentence for the person at the terminal."""


def fingerprint(level: str, root: Path) -> str:
    """The digest of everything an environment of `level` is made from, its place on disk among it."""
    digest = hashlib.sha256()
    for name in ("requirements/build.txt", f"requirements/{level}.txt", "pyproject.toml", ".ci/setup.py"):
        digest.update(name.encode() + b"\0" + (root / name).read_bytes() + b"\0")
    digest.update(str(root).encode())
    return digest.hexdigest()


def satisfied(level: str, root: Path, venv: Path) -> bool:
    """Whether a finished setup of this level, or of one that contains it, is in place and unchanged."""
    try:
        made, digest = (venv / "facepay-setup").read_text().split()
    except (OSError, ValueError):
        return False
    if made not in CONTAINED_IN[level] or digest != fingerprint(made, root):
        return False
    return (venv / "bin" / "facepay").exists() and works(venv)


def call(*command: str | Path, env: dict[str, str] | None = None, hold: int | None = None) -> int:
    """Run a child to its end, its words going where ours go, and return its exit status.

    `hold` is the lock's descriptor: a child that outlives a killed setup keeps the next one waiting until it is done.
    """
    words = [str(part) for part in command]
    return subprocess.run(words, env=env, check=False, pass_fds=() if hold is None else (hold,)).returncode


def ask(*command: str | Path) -> tuple[int, str]:
    """Run a child to its end and return its exit status and all it said."""
    words = [str(part) for part in command]
    child = subprocess.run(words, text=True, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return child.returncode, child.stdout.strip()


def works(venv: Path) -> bool:
    """Whether the environment's Python runs, is new enough and finds its packages; a system's upgrade ends that."""
    python = venv / "bin" / "python"
    asks = f"import sys, pip; sys.exit(sys.version_info < {OLDEST})"
    return python.exists() and ask(python, "-c", asks)[0] == 0


def make_venv(venv: Path) -> None:
    """A virtual environment with pip, or the sentence that says what is missing."""
    if works(venv):
        return
    if venv.exists():
        shutil.rmtree(venv)
    status, said = ask(PYTHON, "-m", "venv", venv)
    if status == 0:
        return
    shutil.rmtree(venv, ignore_errors=True)
    if "ensurepip" in said or "No module named venv" in said:
        raise SetupError(
            f"{PYTHON.name} cannot make a virtual environment here, because the package python3-venv is missing: "
            "install it (on Debian and Ubuntu: apt-get install python3-venv) and run make again."
        )
    raise SetupError(f"`python3 -m venv {venv.name}` failed: {said.splitlines()[-1] if said else 'it gave no reason'}.")


def install(level: str, root: Path, venv: Path, lock: int) -> None:
    """Fetch uv, make the environment equal to the level's requirements, and put the project in place."""
    python, uv, needs = venv / "bin" / "python", venv / "bin" / "uv", root / "requirements"
    env = {**os.environ, "UV_PYTHON_DOWNLOADS": "never", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    env.pop("VIRTUAL_ENV", None)
    # A person at a terminal sees progress bars, a log stays short.
    brief: list[str | Path] = [] if sys.stderr.isatty() else ["--quiet"]
    here: list[str | Path] = ["--python", python]
    steps: list[tuple[str, list[str | Path]]] = [
        ("fetching uv", [python, "-m", "pip", "install", *brief, "--require-hashes", "-r", needs / "build.txt"]),
        (
            f"installing requirements/{level}.txt",
            [uv, "pip", "sync", *brief, *here, "--require-hashes", needs / "build.txt", needs / f"{level}.txt"],
        ),
        (
            "installing the project in place",
            [uv, "pip", "install", *brief, *here, "--offline", "--no-deps", "--no-build-isolation", "--editable", root],
        ),
    ]
    for what, command in steps:
        print(f"setup: {what}", file=sys.stderr, flush=True)
        if call(*command, env=env, hold=lock) != 0:
            raise SetupError(f"stopped while {what}, for the reason above: run make again once it is gone.")


def build(level: str, root: Path, venv: Path) -> None:
    """Do what is left to do for `level`, one process at a time."""
    # The lock is on this very file: nothing is left behind, not even by kill -9.
    with Path(__file__).open(encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if satisfied(level, root, venv):
            return
        stamp, busy = venv / "facepay-setup", venv / "facepay-setup.busy"
        if busy.exists():
            shutil.rmtree(venv)
        stamp.unlink(missing_ok=True)
        make_venv(venv)
        busy.touch()
        install(level, root, venv, lock.fileno())
        busy.write_text(f"{level} {fingerprint(level, root)}\n")
        busy.rename(stamp)


def main() -> int:
    """Bring the level's environment up to date; 0 when it is, 3 when the outside failed."""
    parser = argparse.ArgumentParser(description="Build the virtual environment from hashed requirements.")
    parser.add_argument("level", choices=sorted(FOLDERS))
    level: str = parser.parse_args().level
    try:
        if sys.version_info < OLDEST:
            raise SetupError(
                f"Python 3.11 or newer is needed and {PYTHON} is {sys.version.split()[0]}: name another one, "
                "as in make PYTHON=python3.11 setup."
            )
        build(level, ROOT, ROOT / FOLDERS[level])
    except SetupError as error:
        print(f"setup: {error}", file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        print("setup: interrupted; the next make goes on from here.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
