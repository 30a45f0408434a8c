"""Each payment of a demo, ready to be shown: what the terminal saw and what the topics say, in one timeline. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loadtests.demo.truth import is_disturbed, latency_ms
from loadtests.motion import Scene
from loadtests.people.cast import Payer
from loadtests.report.charts import COLOURS, Segment
from loadtests.terminal import VisitRecord
from pipeline.audit.history import FINAL_OUTCOMES
from pipeline.audit.timeline import Timeline, timelines

if TYPE_CHECKING:
    from loadtests.demo.story import Story

SCENE_ORDER = (Scene.NEAR, Scene.CLOSE, Scene.TWO, Scene.FAR)


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a payment's timeline: milliseconds since it was opened, where it was seen, what, and details."""

    at_ms: float
    where: str
    what: str
    detail: str


@dataclass(frozen=True, slots=True)
class Payment:
    """One payment. `outcome` is from Kafka, read committed."""

    number: int
    visit: VisitRecord
    timeline: Timeline | None
    outcome: str
    method: str | None
    reasons: tuple[str, ...]
    charged: str | None
    latency_ms: float | None
    disturbed: bool
    from_s: float
    until_s: float

    @property
    def colour_key(self) -> str:
        """The outcome as the legend names it."""
        if self.outcome == "settled" and self.method == "face_pin":
            return "settled with PIN"
        return self.outcome if self.outcome in COLOURS else "without outcome"

    @property
    def colour(self) -> str:
        """Its colour in every chart."""
        return COLOURS[self.colour_key]

    @property
    def who(self) -> str:
        """Who truly stood there, by the label of the portrait."""
        who = self.visit.visit.who
        return f"payer {who.label}" if isinstance(who, Payer) else f"stranger {who.label}"

    @property
    def right(self) -> bool:
        """Whether nobody was charged but the person who stood there."""
        return self.charged is None or self.charged == self.visit.visit.payer_id

    @property
    def anchor(self) -> str:
        """The id of its row in the page."""
        return f"payment-{self.number}"

    @property
    def picture(self) -> bytes | None:
        """The frame that tells most: somebody close rather than far away."""
        pictures = self.visit.film.pictures
        return next((pictures[scene] for scene in SCENE_ORDER if scene in pictures), None)

    def lines(self) -> list[Line]:
        """The terminal's moments and the system's steps in the order of time."""
        start_us = self.visit.opened_at_us or self.visit.asked_at_us
        film = self.visit.film
        seen = [(moment.at_us, "terminal", moment.what, moment.detail) for moment in self.visit.moments]
        if film.eligible_us is not None:
            seen.append(
                (film.eligible_us, "camera", "first frame of one person close by", f"{film.frames} frames sent")
            )
        if self.timeline is not None:
            where = {"opened": "gateway", "captured": "camera", "hint": "embedding", "recognised": "embedding"}
            judged = {"approve": "fraud", "step_up": "fraud", "decline": "fraud"}
            asked = {"confirmed": "gateway", "cancel asked": "gateway", "refund asked": "gateway"}
            places = {**where, **judged, **asked}
            seen += [
                (step.at_us, places.get(step.what, "settlement"), step.what, step.detail)
                for step in self.timeline.steps
            ]
        return [Line((at_us - start_us) / 1000, where, what, detail) for at_us, where, what, detail in sorted(seen)]

    def segments(self) -> list[Segment]:
        """The stages of a settled payment, one after the other."""
        line, visit = self.timeline, self.visit
        if line is None or line.outcome != "settled" or line.opened_at_us is None:
            return []
        start_us = line.opened_at_us
        marks = [
            ("approach", visit.film.eligible_us),
            ("recognise", line.recognised_at_us),
            ("judge", line.judged_at_us),
            ("PIN pad", line.confirmed_at_us),
            ("settle", line.decided_at_us),
            ("notice", visit.outcome_at_us),
        ]
        found, at_ms = [], 0.0
        for name, end_us in marks:
            if end_us is None:
                continue
            end_ms = max(at_ms, (end_us - start_us) / 1000)
            found.append(Segment(name, at_ms, end_ms))
            at_ms = end_ms
        return found


def payments(story: Story) -> list[Payment]:
    """Every payment that the gateway opened, in the order of time."""
    lines = timelines(story.history)
    outcomes = {r.event.intent_id: r.event for r in story.history.settlements if r.event.outcome in FINAL_OUTCOMES}
    visits: Sequence[VisitRecord] = sorted(
        (visit for visit in story.visits if visit.intent_id is not None), key=lambda visit: visit.asked_at_us
    )
    found = []
    for number, visit in enumerate(visits, start=1):
        intent_id = visit.intent_id or ""
        event = outcomes.get(intent_id)
        end_us = visit.outcome_at_us or (event.decided_at_us if event is not None else story.ended_at_us)
        settled = event is not None and event.outcome == "settled"
        found.append(
            Payment(
                number=number,
                visit=visit,
                timeline=lines.get(intent_id),
                outcome=event.outcome if event is not None else "without outcome",
                method=event.method if event is not None else None,
                reasons=event.reasons if event is not None else (),
                charged=event.payer_id if event is not None and settled else None,
                latency_ms=latency_ms(visit),
                disturbed=is_disturbed(visit, story.disturbances),
                from_s=(visit.asked_at_us - story.started_at_us) / 1e6,
                until_s=(end_us - story.started_at_us) / 1e6,
            )
        )
    return found
