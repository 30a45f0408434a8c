"""Two thousand broken JPEGs and frame records: none ends the process, each is pixels or a refusal with its reason.

`tests/chaos/test_fuzz.py` does the same with a hundred thousand, drawn anew each time.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.vision.fuzzing import fuzz
from tests.integration.vision.mutants import MUTATORS, mutated, pictures, seeds

SEED = 2
COUNT = 2_000


def beside(shared: Path) -> Path | None:
    """Real portraits and the engine where they are at hand; without them only drawn pictures are broken."""
    return shared if shared.is_dir() else None


def test_broken_bytes_are_refused_with_a_reason_or_are_pixels(tmp_path: Path, root: Path) -> None:
    """Every reason of the decoder and of the frames' seal is met, some mutants decode, and memory stays flat."""
    summary = fuzz(SEED, COUNT, tmp_path, beside(root.parent / "shared"), timeout_s=110)
    assert set(summary["outcomes"]) >= {
        "decoded", "not_jpeg", "jpeg_truncated", "jpeg_corrupt", "image_too_large", "image_too_small",
        "opened", "header_invalid", "wrong_lane", "wrong_terminal", "unknown_camera", "seal_broken", "stale",
        "from_the_future", "replayed",
    }  # fmt: skip
    names = {name for combined in summary["by_mutator"] for name in combined.split("+")}
    assert {mutator.__name__ for mutator in MUTATORS} <= names


def test_a_seed_is_a_run_that_can_be_repeated(tmp_path: Path) -> None:
    """The same seed ends alike in another process, case by case; another seed does not."""
    one, two, other = (
        fuzz(seed, 200, tmp_path / name, None, timeout_s=60)["digest"] for name, seed in (("a", 7), ("b", 7), ("c", 8))
    )
    assert one == two != other


def test_a_crash_is_a_failed_test_that_names_its_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that dies of a signal, as libjpeg would make it, fails with seed and case."""
    program = tmp_path / "fuzz_program.py"
    program.write_text(
        "import os, signal, sys\nopen(sys.argv[3] + '/case', 'w').write('41')\nos.kill(os.getpid(), signal.SIGSEGV)\n"
    )
    monkeypatch.setattr("tests.integration.vision.fuzzing.__file__", str(tmp_path / "fuzzing.py"))
    with pytest.raises(AssertionError, match=r"seed 5: case 41 of 100 ended the process \(exit -11\)"):
        fuzz(5, 100, tmp_path, None, timeout_s=60)


def test_mutants_differ_from_what_they_were() -> None:
    """A mutator that changes nothing would test nothing: nine mutants of ten are other bytes, for every mutator."""
    corpus = pictures()
    for mutator in MUTATORS:
        draws = list(seeds(3, 100))
        changed = sum(mutator(draw, corpus[k % len(corpus)]) != corpus[k % len(corpus)] for k, draw in enumerate(draws))
        assert changed >= 85, mutator.__name__
    assert all(mutated(draw, corpus[0])[0] for draw in seeds(3, 50))
