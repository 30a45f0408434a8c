"""A hundred thousand broken JPEGs and frame records, other ones in each run; `make test` has two thousand of them.

`FACEPAY_FUZZ_N` and `FACEPAY_FUZZ_SEED` set how many and the seed, which is printed.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from tests.integration.vision.fuzzing import fuzz

# Read before the tests' fixture takes FACEPAY_* out of the environment.
COUNT = int(os.environ.get("FACEPAY_FUZZ_N", "100000"))
SEED = int(os.environ.get("FACEPAY_FUZZ_SEED", str(int(time.time()))))


@pytest.mark.timeout(1800 + COUNT // 10)
def test_broken_bytes_are_refused_with_a_reason_or_are_pixels(tmp_path: Path, root: Path) -> None:
    """No crash, flat memory, each refused with a reason of the known set or decoded."""
    shared = root.parent / "shared"
    sys.stdout.write(f"seed {SEED}, {COUNT} cases\n")
    summary = fuzz(SEED, COUNT, tmp_path, shared if shared.is_dir() else None, timeout_s=1700 + COUNT / 10)
    sys.stdout.write(f"{ {name: value for name, value in summary.items() if name != 'by_mutator'} }\n")
    assert summary["outcomes"]["decoded"] > 0
    assert summary["outcomes"]["jpeg_corrupt"] > 0
