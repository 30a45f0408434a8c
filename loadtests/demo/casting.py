"""Who plays in a demo, found or drawn while Kafka starts: both take seconds, and neither needs the other."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

from loadtests.demo.backstage import Backstage, Candidate
from loadtests.demo.options import Options
from loadtests.people.appearance import draw_people
from loadtests.people.cast import Cast, cast
from loadtests.people.portraits import Person, load_people

FIRST_DRAWN = 10_000
"""Numbers of the demo's people begin here. Below 500,000 are people whom no model was trained or judged on."""
CASTS = 400
"""How many different casts there are; each has 1,000 numbers."""


class Casting:
    """Casts in a thread of its own, and has the pictures of the enrolment looked at; a context manager that waits."""

    def __init__(self, options: Options, backstage: Backstage, folder: Path) -> None:
        self._options = options
        self._backstage = backstage
        self._folder = folder
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="casting")
        self._cast: Future[Cast]

    def __enter__(self) -> Casting:
        self._cast = self._pool.submit(self._run)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    def players(self) -> Cast:
        """Everybody; waits for them, and raises what casting raised."""
        return self._cast.result()

    def _run(self) -> Cast:
        options = self._options
        ids = self._backstage.new_ids(options.payers)
        players = cast(self._people(), ids, strangers=options.strangers, seed=options.seed)
        self._backstage.look_at([Candidate(payer.payer_id, payer.enrolled_with) for payer in players.payers])
        return players

    def _people(self) -> Sequence[Person]:
        """Portraits from a folder, or drawn people with a portrait each in the demo's own folder."""
        options = self._options
        if options.people is not None:
            return load_people(options.people)
        count = options.payers + options.strangers
        first_seed = FIRST_DRAWN + options.seed % CASTS * 1_000
        return list(draw_people(self._folder / "people", count, first_seed=first_seed))
