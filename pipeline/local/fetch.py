"""`python -m pipeline.local.fetch`: download and verify everything that the local stack needs, ahead of its first
start.
"""

from __future__ import annotations

import sys

from pipeline.errors import FacepayError
from pipeline.local.progress import to_stderr
from pipeline.local.stack import fetch


def main() -> int:
    """Exit code: 0 done, 2 wrong use, 3 the outside failed, 130 after Ctrl-C."""
    try:
        fetch()
    except FacepayError as error:
        to_stderr(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        to_stderr("Stopped; what has arrived is kept.")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
