"""The report is one file that needs nothing else, says what happened, and escapes what it was told."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from loadtests.demo.backstage import SeenBox
from loadtests.demo.options import Options
from loadtests.demo.processes import Outage
from loadtests.demo.story import Story
from loadtests.demo.truth import Disturbance, measure
from loadtests.motion import Scene
from loadtests.people.cast import Cast, Payer, Stranger
from loadtests.people.visits import Kind
from loadtests.report import page, pictures
from loadtests.report.charts import Segment, distribution, lanes, latencies, milliseconds, strip
from loadtests.report.markup import Markup, el
from loadtests.report.payments import payments
from loadtests.terminal import Moment
from pipeline.audit.history import History
from pipeline.audit.invariants import examine
from pipeline.errors import OutsideError
from tests.unit.audit.story import PAYER, PIN, SECOND_US, START_US, clean
from tests.unit.loadtests.test_truth import visits_of

VOID = {"img", "input", "meta", "br", "hr", "rect", "line", "circle"}


class Balanced(HTMLParser):
    """Notes elements that are not closed, and every address that a browser would load."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        self.loads += [str(known[name]) for name in ("src", "xlink:href") if name in known]
        self.links += [str(known["href"])] if "href" in known else []
        self.ids += [str(known["id"])] if "id" in known else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] not in (["style"], ["script"]):
            self.texts.append(data)


class Eyes:
    """A backstage that sees one large and one small face in every frame."""

    def boxes(self, frames: Sequence[bytes]) -> list[list[SeenBox]]:
        """Two faces."""
        return [[SeenBox(10, 10, 120, 150, 0.9), SeenBox(300, 10, 20, 25, 0.8)] for _ in frames]


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A photograph."""
    path = tmp_path / "p.jpg"
    cv2.imwrite(str(path), np.full((60, 50, 3), 90, np.uint8))
    return path


def told(picture: Path, history: History | None = None) -> Story:
    """A story as the demo would have left it."""
    history = history or clean()
    visits = visits_of(history)[:-1]
    jpeg = picture.read_bytes()
    for number, visit in enumerate(visits):
        visit.film.pictures = {Scene.NEAR: jpeg}
        visit.film.frames = 3
        visit.moments = [Moment(visit.asked_at_us, "opened"), Moment(visit.asked_at_us + 5, "hint", "<come & closer>")]
        visit.visit = replace(
            visit.visit, who=Payer(PAYER, f"<p{number}>", picture, picture.with_name("p.jpg"), "1234")
        )
    visits[0].visit = replace(visits[0].visit, kind=Kind.TWO_PEOPLE)
    visits[0].film.pictures[Scene.TWO] = jpeg
    visits[0].hints = ["one_person_please"]
    visits[3].visit = replace(visits[3].visit, who=Stranger("s", picture))
    away = [Disturbance("fraud", START_US + SECOND_US, START_US + 2 * SECOND_US)]
    return Story(
        options=Options(models=picture.parent, people=picture.parent, report=picture.parent / "out" / "r.html"),
        players=Cast((), ()),
        visits=visits,
        history=history,
        findings=examine(history),
        figures=measure(visits, history, away, seconds=10),
        disturbances=away,
        outages=[Outage("fraud", away[0].from_us, "killed", away[0].until_us)],
        notes=["Flat portraits: liveness is not judged."],
        frames=15,
        frames_failed=0,
        startup_s=9.0,
        first_settlement_s=9.5,
        started_at_us=START_US,
        ended_at_us=START_US + 10 * SECOND_US,
        repeated_requests=0,
    )


def read(html: str) -> Balanced:
    """The page as a browser would read it."""
    parser = Balanced()
    parser.feed(html)
    assert parser.open == []
    return parser


def test_the_page_needs_nothing_else(picture: Path) -> None:
    """Every picture is inside; no address leads out; every link leads to a row that is there."""
    story = told(picture)
    path = page.write(story, Eyes())  # type: ignore[arg-type]  # only boxes are asked for
    html = path.read_text()
    seen = read(html)
    assert seen.loads
    assert all(address.startswith("data:image/jpeg;base64,") for address in seen.loads)
    assert {link for link in seen.links if not link.startswith("#")} == set()
    assert {link.removeprefix("#") for link in seen.links} <= set(seen.ids)
    assert len(seen.ids) == len(set(seen.ids))
    assert not re.search(r"https?://|@import|url\(", html)


def test_it_says_what_happened(picture: Path) -> None:
    """The verdict, every payment with its timeline, the disturbance, the audit and the notes."""
    story = told(picture)
    seen = read(page.render(story, payments(story), Markup("")))
    text = " ".join(seen.texts)
    for words in (
        "Every promise held", "fraud down", "the fraud agent was away for 1.0 s", "Flat portraits", "I5", "holds",
        "amount high", "settled with PIN", "refunded", "confirmed", "recognised", "one person please",
    ):  # fmt: skip
        assert words in text, words
    assert [name for name in seen.ids if name.startswith("payment-")] == [f"payment-{n}" for n in range(1, 6)]


def test_what_is_broken_stands_at_the_top(picture: Path) -> None:
    """A violation is named in the first lines and listed in the audit."""
    history = clean()
    broken = replace(history, settlements=(*history.settlements, replace(history.settlements[0], offset=77)))
    story = told(picture, broken)
    assert not story.ok
    text = " ".join(read(page.render(story, payments(story), Markup(""))).texts)
    assert "Not every promise held: invariants I1, I2, I3, I5 are broken; 1 records are doubled" in text
    assert "emitted_twice" in text


def test_what_was_told_is_escaped(picture: Path) -> None:
    """Labels and reasons are text, never markup."""
    story = told(picture)
    html = page.render(story, payments(story), Markup(""))
    assert "<p0>" not in html
    assert "&lt;p0&gt;" in html
    assert "&lt;come &amp; closer&gt;" in html


def test_pictures_show_faces_and_decisions(picture: Path) -> None:
    """A box per face, dashed where it is too small, and a sentence of what followed."""
    story = told(picture)
    shots = pictures.choose(payments(story))
    html = pictures.section(shots, Eyes(), 48)  # type: ignore[arg-type]  # only boxes are asked for
    assert html.count("<figure>") == len(shots)
    assert html.count('class="face small-face"') == len(shots)
    assert "2 faces, 120 px, 20 px wide, 1 too small to judge" in html
    assert "nothing is decided while two stand there" in html
    assert "Recognised at similarity 0.70, margin 0.40, step up, settled with PIN." in html
    assert pictures.seen([], 48) == "No face found"


def test_a_payment_adds_up(picture: Path) -> None:
    """Its stages follow one another without a gap from the opening to the terminal's knowing."""
    story = told(picture)
    payment = next(p for p in payments(story) if p.visit.intent_id == PIN)
    segments = payment.segments()
    assert [s.name for s in segments] == ["approach", "recognise", "judge", "PIN pad", "settle", "notice"]
    assert all(a.until_ms == b.from_ms for a, b in itertools.pairwise(segments))
    assert payment.right
    assert [line.at_ms for line in payment.lines()] == sorted(line.at_ms for line in payment.lines())


def test_a_report_that_cannot_be_written_is_one_sentence(picture: Path) -> None:
    """The path and what to do."""
    story = told(picture)
    blocked = replace(story.options, report=picture / "r.html")
    with pytest.raises(OutsideError, match="--report"):
        page.write(replace(story, options=blocked), Eyes())  # type: ignore[arg-type]  # only boxes are asked for


def test_charts_of_nothing_are_still_charts() -> None:
    """A demo in which nothing was settled has empty charts, not an error."""
    for drawn in (lanes([], [], 1.0), latencies([], [], 1.0), distribution([], 1, 1000), strip([], 100)):
        assert drawn.startswith("<svg")
    assert 'width="0.80"' not in strip([Segment("judge", 200, 300)], 100)
    assert (milliseconds(1500), milliseconds(10)) == ("1.5 s", "10 ms")


def test_elements_escape_and_nest() -> None:
    """Text and attributes are escaped, markup is not escaped twice, None and False leave nothing."""
    inner = el("b", "a<b")
    assert el("p", inner, None, [1, "&"], class_='"x"', hidden=True, id=None, open=False) == (
        '<p class="&quot;x&quot;" hidden><b>a&lt;b</b>1&amp;</p>'
    )
    assert el("img", src="x") == '<img src="x">'
    assert el("rect", x=1.5, y=2.0) == '<rect x="1.5" y="2"/>'
    with pytest.raises(TypeError):
        el("p", object())
