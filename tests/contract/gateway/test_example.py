"""The terminal of the examples, as a program, against a real gateway."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from pipeline.keys.terminals import terminal_token
from schemas.events import PaymentTerms
from tests.contract.gateway.conftest import Served, World
from tests.stack import wait_until


def test_a_terminal_in_30_lines(world: World, served: Served, root: Path) -> None:
    """It opens an intent, prints the hint and then the outcome, and ends with 0."""
    terminal_id = world.terminal()
    call = [sys.executable, "examples/terminal.py", served.url, terminal_id, "2350", "CNY"]
    env = {**os.environ, "FACEPAY_TOKEN": terminal_token(world.keyring, terminal_id), "PYTHONUNBUFFERED": "1"}
    with (
        world.till(served, terminal_id) as till,
        subprocess.Popen(call, cwd=root, env=env, stdout=subprocess.PIPE, text=True) as program,
    ):
        assert program.stdout is not None
        wait_until(lambda: till.lease().status_code == 200, 30, "the intent is open")
        terms = PaymentTerms(**till.lease().json()["terms"])
        world.hint(terms, "come_closer")
        assert program.stdout.readline() == "please: come_closer\n"
        world.settle(terms)
        assert program.stdout.read() == "settled\n"
        assert program.wait(20) == 0
