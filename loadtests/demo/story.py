"""The demo from its first line to its last: build the world, let people pay, kill an agent, audit, measure."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from loadtests.cameras import FrameSender
from loadtests.demo import chaos, traffic, world
from loadtests.demo.backstage import Backstage
from loadtests.demo.casting import Casting
from loadtests.demo.enrolling import Enrolling
from loadtests.demo.live import Screen
from loadtests.demo.options import Options
from loadtests.demo.processes import Outage, Processes
from loadtests.demo.striking import Striker, Telling
from loadtests.demo.truth import Disturbance, Figures, measure
from loadtests.people.cast import Cast
from loadtests.people.visits import Crowd, Limits
from loadtests.terminal import VisitRecord
from pipeline.audit.findings import Finding
from pipeline.audit.history import History
from pipeline.errors import OutsideError, UsageError
from pipeline.local import LocalStack
from pipeline.ports import Clock

READY_S = 90.0
ENROLLED_FIRST = 20
"""How many payers must be enrolled before the first visit; the others join while payments go on."""
ERRORS_SHOWN = 5
HOLDS_MONEY_UP = frozenset({"settlement", chaos.BROKER})
"""While one of these is away no outcome can follow its deadline in time: the audit grants 30 s from its return."""
OUTPUTS: Mapping[str, str] = {"embedding": "recognitions", "fraud": "verdicts", "settlement": "settlements"}


@dataclass(frozen=True, slots=True)
class Story:
    """Everything that a demo leaves: for the figures, the report and the exit code."""

    options: Options
    players: Cast
    visits: Sequence[VisitRecord]
    history: History
    findings: Mapping[str, Finding]
    figures: Figures
    disturbances: Sequence[Disturbance]
    outages: Sequence[Outage]
    notes: Sequence[str]
    frames: int
    frames_failed: int
    startup_s: float
    first_settlement_s: float | None
    started_at_us: int
    ended_at_us: int
    repeated_requests: int

    @property
    def broken(self) -> list[str]:
        """The names of the invariants that do not hold."""
        return [name for name, finding in self.findings.items() if finding.violations]

    @property
    def ok(self) -> bool:
        """Whether the demo shows what it must."""
        figures = self.figures
        nothing = not figures.outcomes.get("settled", 0)
        return not (nothing or self.broken or figures.wrong_payer or figures.duplicates or figures.lost)


def folder_of(options: Options) -> Path:
    """The folder that everything is made in; raises `UsageError` when it holds something else already."""
    if options.keep is None:
        return Path(tempfile.mkdtemp(prefix="facepay-demo-"))
    folder = options.keep.absolute()
    if folder.is_dir() and any(folder.iterdir()):
        raise UsageError(f"starting the demo: --keep {folder} is not empty; name a new folder")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def tell(
    options: Options,
    backstage: Backstage,
    folder: Path,
    console: Console,
    clock: Clock,
    *,
    strikes: Sequence[chaos.Strike] | None = None,
) -> Story:
    """Runs the demo in `folder`. Raises `FacepayError`. `strikes` None: those that the options' seed draws."""
    began = time.monotonic()
    console.print(
        f"facepay demo: Kafka, Redis, three agents and a gateway in {folder}", highlight=False, soft_wrap=True
    )
    with (
        Casting(options, backstage, folder) as casting,
        LocalStack(folder, report=lambda line: console.print(line, highlight=False)) as stack,
    ):
        here = world.build(folder, stack.addresses, options)
        backstage.apply_topics(here.settings)
        telling = Telling(console)
        with (
            world.processes(here, clock, telling.say) as running,
            Enrolling(backstage.enrol(here.settings, casting.players().payers)) as enrolling,
        ):
            players = casting.players()
            running.wait_ready(READY_S)
            if not enrolling.first(ENROLLED_FIRST, READY_S):
                raise OutsideError("enrolling the demo's payers: no photograph was good enough; pass other --people")
            startup_s = time.monotonic() - began
            console.print(f"Everything is ready after {startup_s:.1f} s.", highlight=False)
            for line in notes(options, players, here):
                console.print(line, highlight=False, soft_wrap=True)
            if strikes is None:
                strikes = chaos.plan(world.AGENTS, options.seconds, options.seed) if options.chaos else []
            striker = Striker(strikes, stack, running, telling, clock)
            served = _serve(options, players, here, running, enrolling, striker, console, clock)
            players = Cast(tuple(enrolling.enrolled), players.strangers)
        visits = served.journal.visits
        away = [Disturbance(o.name, o.down_at_us, o.ready_at_us or clock()) for o in running.outages]
        outages_us = [(o.down_at_us, o.ready_at_us or clock()) for o in running.outages if o.name in HOLDS_MONEY_UP]
        history = backstage.history(here.settings, outages_us)
        disturbances = [_until_output(each, history) for each in away]
        findings = backstage.examine(history)
        seconds = (served.ended_at_us - served.started_at_us) / 1e6
        first_us = min((v.outcome_at_us or 0 for v in visits if v.state == "settled"), default=None)
        return Story(
            options=options,
            players=players,
            visits=visits,
            history=history,
            findings=findings,
            figures=measure(visits, history, disturbances, seconds=seconds),
            disturbances=disturbances,
            outages=tuple(running.outages),
            notes=notes(options, players, here),
            frames=served.frames,
            frames_failed=served.frames_failed,
            startup_s=startup_s,
            first_settlement_s=None if first_us is None else startup_s + (first_us - served.started_at_us) / 1e6,
            started_at_us=served.started_at_us,
            ended_at_us=served.ended_at_us,
            repeated_requests=served.journal.repeated_requests,
        )


def remove(options: Options, folder: Path) -> None:
    """Removes the folder unless it is to be kept."""
    if options.keep is None:
        shutil.rmtree(folder, ignore_errors=True)


def notes(options: Options, players: Cast, here: world.World) -> list[str]:
    """What must be said aloud about this demo."""
    risk = here.settings.risk
    cast_line = f"{len(players.payers)} people enrol (some while others pay), {len(players.strangers)} strangers do not"
    money = (
        f"Amounts over {risk.step_up_minor / 100:.2f} ask for a PIN, over {risk.decline_minor / 100:.2f} are declined"
    )
    said = [
        f"{cast_line}; {len(here.credentials)} terminals.",
        *_about_faces(options),
        f"{money}; a PIN is asked for from {risk.velocity_count} payments of a person in a minute (by default 5).",
    ]
    if options.max_fpir is not None:
        said.append("Thresholds are as where too many are enrolled for faces alone: terminals ask for digits.")
    if players.same_picture:
        said.append(
            f"{players.same_picture} of the payers have a single photograph: the camera sees that same picture, "
            "moving; the others are enrolled with one photograph and seen with another."
        )
    if options.seconds < 10:
        said.append("Less than ten seconds are too short for an agent to be killed and to recover.")
    return said


def _about_faces(options: Options) -> list[str]:
    """What the faces of this demo are, and what they prove."""
    if options.drawn:
        return [
            "Nobody here exists: faces are drawn, and the models were trained on drawn people and hold for them only.",
            "Some hold up a payer's picture, wear it, or use a sleeping payer: nobody may be charged for them.",
        ]
    return [
        "Flat portraits: liveness is scored and counted, but does not decide (FACEPAY_VISION__PAD=report_only).",
        "Nor do unproven liveness and unknown eyes ask for a PIN here (FACEPAY_RISK__... = accept), as they would.",
    ]


@dataclass(frozen=True, slots=True)
class _Served:
    journal: traffic.Journal
    frames: int
    frames_failed: int
    started_at_us: int
    ended_at_us: int


def _serve(
    options: Options,
    players: Cast,
    here: world.World,
    running: Processes,
    enrolling: Enrolling,
    striker: Striker,
    console: Console,
    clock: Clock,
) -> _Served:
    """Lets people pay, and strikes meanwhile."""
    risk = here.settings.risk
    crowd = Crowd(players.strangers, seed=options.seed, limits=Limits(risk.step_up_minor, risk.decline_minor))
    for payer in enrolling.then(crowd.join):
        crowd.join(payer)

    def check() -> None:
        running.check()
        enrolling.check()

    journal = traffic.Journal()
    started_at_us = clock()
    with (
        FrameSender(here.settings.kafka.bootstrap) as sender,
        Screen(console, journal, lambda: running.states) as screen,
    ):
        striker.start(screen)
        try:
            asyncio.run(
                traffic.run(
                    here,
                    crowd,
                    sender,
                    journal,
                    clock,
                    seconds=options.seconds,
                    rate_fps=options.rate_fps,
                    check=check,
                )
            )
        finally:
            striker.stop()
        console.print(screen.summary(), highlight=False, soft_wrap=True)
        errors = Counter(visit.error for visit in journal.visits if visit.error is not None)
        for error, count in errors.most_common(ERRORS_SHOWN):
            console.print(
                f"{count} visits failed: {error}", style="yellow", highlight=False, markup=False, soft_wrap=True
            )
    ended_at_us = clock()
    _wait_ended(journal, clock)
    return _Served(journal, sender.confirmed, sender.failed, started_at_us, ended_at_us)


def _wait_ended(journal: traffic.Journal, clock: Clock) -> None:
    """Intents that were left open (somebody walked away) end with their deadline; none is judged before."""
    deadlines = [v.opened.terms.expires_at_us for v in journal.visits if v.outcome is None and v.opened is not None]
    left_s = (max(deadlines, default=0) - clock()) / 1e6 + 2.5
    if left_s > 0:
        time.sleep(left_s)


def _until_output(each: Disturbance, history: History) -> Disturbance:
    """An agent is back when it says so and has produced again: whichever is later."""
    topic = OUTPUTS.get(each.agent)
    stored = [r.timestamp_us for r in getattr(history, topic)] if topic is not None else []
    first_us = min((at_us for at_us in stored if at_us > each.from_us), default=each.until_us)
    return Disturbance(each.agent, each.from_us, max(each.until_us, first_us))
