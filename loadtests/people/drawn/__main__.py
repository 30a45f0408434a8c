"""Look at drawn people (`--sheet FILE.png`), or measure what drawing them costs (`--measure`)."""

from __future__ import annotations

import argparse
import sys

import cv2

from loadtests.people.drawn.measuring import CAMERAS, RATE_FPS, cameras_per_core, measure
from loadtests.people.drawn.sheet import contact_sheet


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0, or 1 when the file cannot be written."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.people.drawn", description=__doc__)
    parser.add_argument("--sheet", metavar="FILE.png", help="write a contact sheet there")
    parser.add_argument("--seed", type=int, default=0, help="which people it shows (default 0)")
    parser.add_argument("--measure", action="store_true", help="measure the cost of drawing, one thread")
    chosen = parser.parse_args(arguments)
    if chosen.sheet is None and not chosen.measure:
        parser.print_help()
        return 2
    if chosen.sheet is not None and not _written(chosen.sheet, chosen.seed):
        sys.stderr.write(
            f"writing the contact sheet {chosen.sheet}: the file cannot be written; choose another place\n"
        )
        return 1
    if chosen.measure:
        sys.stdout.write(report())
    return 0


def _written(path: str, seed: int) -> bool:
    try:
        return bool(cv2.imwrite(path, contact_sheet(seed)))
    except cv2.error:
        return False


def report() -> str:
    """The table that `--measure` prints."""
    rows = measure()
    lines = [f"{'what':52}{'CPU ms':>9}{'p90':>9}"] + [
        f"{what:52}{middle:9.2f}{high:9.2f}" for what, middle, high in rows
    ]
    vga = next(middle for what, middle, _ in rows if what.startswith("stream frame VGA"))
    lines.append(
        f"one core draws {cameras_per_core(vga):.0f} cameras at VGA and {RATE_FPS:.0f} frames/s (wanted: {CAMERAS})"
    )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
