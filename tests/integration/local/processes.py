"""Looking at processes that are not this process's children, on Linux and macOS."""

from __future__ import annotations

import subprocess


def is_running(pid: int) -> bool:
    """Whether `pid` is a process that still does something (one that has ended and waits to be collected does not)."""
    shown = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(shown.strip()) and not shown.strip().startswith("Z")


def commands_with(text: str) -> list[str]:
    """The command lines of all running processes that contain `text`, without `ps` itself."""
    shown = subprocess.run(["ps", "-eo", "stat=,command="], capture_output=True, text=True, check=True).stdout
    return [line for line in shown.splitlines() if text in line and not line.startswith("Z")]
