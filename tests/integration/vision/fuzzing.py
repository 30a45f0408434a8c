"""Runs `fuzz_program.py` and says what it must show: no crash, no unknown outcome, flat memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
MAX_GROWTH_BYTES = 64_000_000
"""What an allocator may keep of the largest picture that is allowed (8 megapixels are 24 MB), twice; a leak of one
picture in a hundred would be more within a thousand cases.
"""


def fuzz(seed: int, count: int, work: Path, shared: Path | None, *, timeout_s: float) -> dict[str, Any]:
    """The summary of `count` cases; fails, with the seed and the case, when the process did not end well."""
    work.mkdir(parents=True, exist_ok=True)
    inputs = [] if shared is None else [str(shared / "faces" / "congress" / "dev"), str(shared / "models")]
    command = [
        sys.executable, "-X", "faulthandler", str(Path(__file__).with_name("fuzz_program.py")),
        str(seed), str(count), str(work), *inputs,
    ]  # fmt: skip
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=timeout_s
        )
    except subprocess.TimeoutExpired:
        raise AssertionError(f"seed {seed}: still at case {_case(work)} after {timeout_s:.0f} s") from None
    assert done.returncode == 0, (
        f"seed {seed}: case {_case(work)} of {count} ended the process (exit {done.returncode})\n{done.stderr[-4000:]}"
    )
    summary: dict[str, Any] = json.loads(done.stdout)
    assert sum(summary["outcomes"].values()) == count
    assert summary["grown_bytes"] < MAX_GROWTH_BYTES, f"seed {seed}: memory grew by {summary['grown_bytes']} bytes"
    return summary


def _case(work: Path) -> str:
    file = work / "case"
    return file.read_text().strip() if file.is_file() else "none"
