"""The command line: one module per command group, assembled in `program`; this one turns errors into exit codes."""

from __future__ import annotations

import sys


def main() -> None:
    """The console script: runs a command; an expected error is one sentence on standard error and its own exit code."""
    from pipeline.cli import console
    from pipeline.cli.program import app
    from pipeline.errors import FacepayError

    try:
        app()
    except FacepayError as error:
        console.err.print(f"facepay: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
