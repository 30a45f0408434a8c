"""Erasing a payer over the real Kafka: gone everywhere, proved, whatever stops or races it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from pipeline.errors import RedisUnavailable
from pipeline.gallery import desk as desk_module
from pipeline.gallery import erasure as erasure_module
from pipeline.gallery import records
from pipeline.gallery.desk import EnrolmentDesk
from pipeline.gallery.enrolment import EnrolmentRefused
from pipeline.gallery.erasure import Erased
from pipeline.gallery.mirrors import Reports, standings
from pipeline.gallery.reader import GalleryReader
from pipeline.gallery.snapshot import header_of
from pipeline.gallery.templates import OpenedTemplate
from pipeline.ports import Vector
from pipeline.runtime.reader import read_topic
from schemas.codec import encode
from schemas.ids import derived_id
from tests.integration.gallery.gallery_world import MODEL, Place, faces, now_us
from tests.stack import wait_until

ANN, BEN = derived_id("payer", "ann"), derived_id("payer", "ben")


class Ears:
    """A listener that remembers as the hot tier and the directory of claims do."""

    section = "ears"

    def __init__(self) -> None:
        self.heard: dict[str, str] = {}

    def put(self, opened: OpenedTemplate) -> None:
        self.heard[opened.template_id] = opened.payer_id

    def removed(self, template_id: str, payer_id: str) -> None:
        assert self.heard.pop(template_id) == payer_id

    def dump(self) -> bytes:
        return " ".join(f"{template}={payer}" for template, payer in self.heard.items()).encode()

    def load(self, data: bytes) -> None:
        self.heard = dict(pair.split("=") for pair in data.decode().split())


class Cupboard:
    """A hot tier that can be out of reach."""

    def __init__(self) -> None:
        self.payers = {ANN, BEN}
        self.reachable = True

    def erase(self, payer_id: str) -> int:
        if not self.reachable:
            raise RedisUnavailable("asking Redis: nobody answers")
        self.payers.discard(payer_id)
        return 1

    def holds(self, payer_id: str) -> bool:
        return payer_id in self.payers


def who(reader: GalleryReader, probes: Vector) -> list[str | None]:
    return [
        match.payer_id if match is not None and match.similarity > 0.99 else None for match in reader.search(probes)
    ]


def places(erased: Erased) -> dict[str, bool]:
    return {place.name: place.gone for place in erased.places}


def test_an_erased_payer_is_nowhere(place: Place) -> None:
    """Two agents, one with a snapshot: within two seconds neither matches the payer any more; the command says each
    place and when; a process that starts later, from the snapshot or the topic, does not know the payer either."""
    vectors = faces(4)
    place.enrol(ANN, vectors[:3])
    place.enrol(BEN, vectors[3:])
    ears = Ears(), Ears()
    one = place.reader(listeners=[ears[0]], snapshots=place.snapshots(), report_as="shop-0")
    two = place.reader(listeners=[ears[1]], report_as="shop-1")
    path = place.snapshots().path
    wait_until(lambda: header_of(path) is not None, 10, "the first snapshot")
    assert who(one, vectors) == who(two, vectors) == [ANN, ANN, ANN, BEN]

    began = time.monotonic()
    last_seen = [began, began]
    over = threading.Event()

    def watch(number: int, reader: GalleryReader) -> None:
        while not over.is_set():
            if ANN in who(reader, vectors[:1]):
                last_seen[number] = time.monotonic()
            over.wait(0.02)

    watchers = [threading.Thread(target=watch, args=(n, reader)) for n, reader in enumerate((one, two))]
    for watcher in watchers:
        watcher.start()
    hot = Cupboard()
    try:
        erased = place.erasure(hot=hot).erase(ANN)
    finally:
        over.set()
        for watcher in watchers:
            watcher.join()

    assert erased.complete, erased
    assert set(places(erased)) == {
        "data key", "hot tier", "topic payers", "topic gallery", "mirror shop-0", "mirror shop-1", "snapshot shop-0",
    }  # fmt: skip
    assert (erased.templates, erased.known, hot.payers) == (3, True, {BEN})
    assert max(last_seen) - began < 2.0
    assert who(one, vectors) == who(two, vectors) == [None, None, None, BEN]
    assert set(ears[0].heard.values()) == set(ears[1].heard.values()) == {BEN}
    assert place.data_keys.of_payer(ANN) == ()
    assert place.deeds(ANN) == ["consent_given", "enrolled", "erased"]
    assert place.deeds(BEN) == ["consent_given", "enrolled"]
    profiles = {m.key: m.value for m in read_topic(place.kafka, place.payers, read_committed=False)}
    assert profiles[ANN.encode()] is None
    assert profiles[BEN.encode()] is not None

    one.stop()
    later = Ears()
    warm = place.reader(listeners=[later], snapshots=place.snapshots())
    cold = place.reader()
    assert who(warm, vectors) == who(cold, vectors) == [None, None, None, BEN]
    assert set(later.heard.values()) == {BEN}
    assert sum(warm.starts.values()) > 0, "it did not begin behind the snapshot"


def test_erasing_again_changes_nothing(place: Place) -> None:
    """A second erasure finds everything empty and notes nothing; an id that was never known is said to be so."""
    place.enrol(ANN, faces(1))
    assert place.erasure().erase(ANN).complete
    again = place.erasure().erase(ANN)
    assert (again.complete, again.known) == (True, True)
    assert place.deeds(ANN) == ["consent_given", "enrolled", "erased"]
    nobody = place.erasure().erase(derived_id("payer", "nobody"))
    assert (nobody.complete, nobody.known) == (True, False)
    assert place.deeds(derived_id("payer", "nobody")) == []


def test_withdrawing_a_consent_is_noted_and_erases(place: Place) -> None:
    """The withdrawal stands in the journal before anything is erased, once."""
    place.enrol(ANN, faces(1))
    for _ in range(2):
        assert place.erasure().erase(ANN, withdrawn=True).complete
    assert place.deeds(ANN) == ["consent_given", "enrolled", "consent_withdrawn", "erased"]


class Killed(BaseException):
    """The process dies here."""


def dying_at(monkeypatch: pytest.MonkeyPatch, owner: object, name: str, call: int, *, after: bool) -> None:
    """The `call`-th call of `owner.name` is the last thing the process does (`after`), or it dies just before it."""
    real: Callable[..., Any] = getattr(owner, name)
    calls = iter(range(1, 100))

    def dying(*args: Any, **kwargs: Any) -> Any:
        number = next(calls)
        if number == call and not after:
            raise Killed
        answer = real(*args, **kwargs)
        if number == call:
            raise Killed
        return answer

    monkeypatch.setattr(owner, name, dying)


STEPS: list[tuple[str, str, int, bool]] = [
    ("data_keys", "destroy", 1, True),
    ("hot", "erase", 1, False),
    ("module", "write", 2, True),  # the profile
    ("module", "write", 3, True),  # the templates
    ("journal", "append", 1, True),
]


@pytest.mark.parametrize(("owner", "name", "call", "after"), STEPS, ids=[f"{s[1]}-{s[2]}-{s[3]}" for s in STEPS])
def test_a_process_that_dies_is_finished_by_the_next(
    place: Place, owner: str, name: str, call: int, after: bool
) -> None:
    """Killed before or after any step: erasing again empties every place and the journal has it once."""
    place.enrol(ANN, faces(2))
    hot = Cupboard()
    owners = {"data_keys": place.data_keys, "module": erasure_module, "hot": hot, "journal": place.journal}
    with pytest.MonkeyPatch.context() as patch:
        dying_at(patch, owners[owner], name, call, after=after)
        with pytest.raises(Killed):
            place.erasure(hot=hot).erase(ANN)
    erased = place.erasure(hot=hot).erase(ANN)
    assert erased.complete
    assert hot.payers == {BEN}
    assert place.deeds(ANN) == ["consent_given", "enrolled", "erased"]
    assert place.reader().size == 0


def test_a_place_out_of_reach_is_named(place: Place) -> None:
    """Redis that does not answer: the rest is done, the command says what is left, the journal does not say erased."""
    place.enrol(ANN, faces(1))
    hot = Cupboard()
    hot.reachable = False
    erased = place.erasure(hot=hot).erase(ANN)
    assert {name for name, gone in places(erased).items() if not gone} == {"hot tier"}
    assert "Redis" in next(each.remedy for each in erased.places if not each.gone)
    assert place.deeds(ANN) == ["consent_given", "enrolled"]
    hot.reachable = True
    assert place.erasure(hot=hot).erase(ANN).complete
    assert place.deeds(ANN)[-1] == "erased"


@pytest.fixture
def stuck(place: Place) -> Iterator[Reports]:
    """An agent that lives and reports, and does not read on."""
    reports = Reports(place.kafka, place.gallery, "shop-7", now_us)
    reports.start()
    reports.applied(dict.fromkeys(range(3), 0), soon=True)
    wait_until(lambda: standings(place.kafka, place.gallery), 20, "its first report")
    yield reports
    reports.stop()


def test_a_mirror_that_does_not_read_on_is_named(place: Place, stuck: Reports) -> None:
    """Its place is not gone until it has read the tombstones; once it has ended, its memory is gone with it."""
    place.enrol(ANN, faces(1))
    erased = place.erasure(wait_s=1).erase(ANN)
    assert {name for name, gone in places(erased).items() if not gone} == {"mirror shop-7"}
    assert not erased.complete
    stuck.stop()
    again = place.erasure(wait_s=5).erase(ANN)
    assert again.complete
    assert "mirror shop-7" not in places(again)


def test_the_snapshot_of_an_agent_that_does_not_run_loses_its_key(place: Place) -> None:
    """Nobody rewrites it, so that its key is destroyed: the agent reads the topic when it starts."""
    vectors = faces(2)
    place.enrol(ANN, vectors[:1])
    place.enrol(BEN, vectors[1:])
    agent = place.reader(snapshots=place.snapshots(), report_as="shop-0")
    path = place.snapshots().path
    wait_until(lambda: header_of(path) is not None, 10, "the snapshot")
    agent.stop()
    header = header_of(path)
    assert header is not None
    erased = place.erasure().erase(ANN)
    assert places(erased)["snapshot shop-0"]
    assert place.data_keys.of_payer(header.key_owner) == ()
    again = place.reader(snapshots=place.snapshots(), report_as="shop-0")
    assert who(again, vectors) == [None, BEN]


def test_an_erasure_in_the_middle_of_an_enrolment_wins(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The payer is erased after the templates were sealed and before they are written: the enrolment is refused, and
    takes back what it wrote after the erasure."""
    real = records.write
    erased: list[Erased] = []

    def racing(*args: Any, **kwargs: Any) -> dict[int, int]:
        if not erased:
            erased.append(place.erasure().erase(ANN))
        return real(*args, **kwargs)

    monkeypatch.setattr(desk_module, "write", racing)
    with pytest.raises(EnrolmentRefused) as why:
        place.enrol(ANN, faces(2))
    assert why.value.reason == "payer_erased"
    assert erased[0].complete
    living = [m.key for topic in (place.gallery, place.payers) for m in newest(place, topic) if m.value is not None]
    assert living == []
    assert place.deeds(ANN)[-1] == "erased"
    with pytest.raises(EnrolmentRefused):
        place.enrol(ANN, faces(1))


def newest(place: Place, topic: str) -> list[Any]:
    return list({m.key: m for m in read_topic(place.kafka, topic, read_committed=False)}.values())


def test_a_template_written_after_the_erasure_opens_for_nobody(place: Place) -> None:
    """An old process that still held it puts it back on the topic: no reader takes it, those that run and those that
    start."""
    vectors = faces(1)
    late = place.template(vectors[0], payer=ANN)
    place.write(late.template_id, encode(late))
    running = place.reader()
    assert running.size == 1
    assert place.erasure().erase(ANN).complete
    wait_until(lambda: running.size == 0, 10, "the tombstone")
    place.write(late.template_id, encode(late))
    wait_until(lambda: running.refused, 10, "the late template")
    assert (running.size, running.refused) == (0, {"data_key_destroyed": 1})
    assert place.reader().size == 0


def test_puts_and_an_erasure_race(place: Place) -> None:
    """Two agents follow while the payer's templates are written again and again and one erasure comes in between: in
    the end nobody has the payer, and nobody ever gets the payer back."""
    vectors = faces(1)
    template = place.template(vectors[0], payer=ANN)
    readers = place.reader(report_as="race-0"), place.reader(report_as="race-1")
    over = threading.Event()

    def put() -> None:
        while not over.is_set():
            place.producer.produce(place.gallery, encode(template), key=template.template_id)
            place.producer.poll(0)
            over.wait(0.002)

    writer = threading.Thread(target=put)
    writer.start()
    try:
        wait_until(lambda: all(reader.size for reader in readers), 10, "the template")
        place.erasure(wait_s=5).erase(ANN)
        gone = time.monotonic()
        wait_until(lambda: not any(reader.size for reader in readers), 2, "both empty")
        while time.monotonic() - gone < 0.5:
            assert not any(who(reader, vectors)[0] for reader in readers)
    finally:
        over.set()
        writer.join()
    assert place.producer.flush(10) == 0
    assert place.erasure().erase(ANN).complete


def test_a_lookalike_s_flag_survives_and_is_sealed(place: Place) -> None:
    """Flagging writes every template of the payer again; an erased payer's are left alone."""
    one, other = faces(2)
    place.enrol(ANN, np.stack([one, other]))
    place.enrol(BEN, faces(1, seed=9))
    desk: EnrolmentDesk = place.desk()
    assert desk.flag({ANN}) == 2
    assert desk.flag({ANN}) == 0
    reader = place.reader()
    assert [match.lookalike for match in reader.search(np.stack([one, other])) if match] == [True, True]
    assert [match.lookalike for match in reader.search(faces(1, seed=9)) if match] == [False]
    place.data_keys.destroy(BEN)
    assert desk.flag({BEN}) == 0


def test_the_model_of_an_enrolment_is_noted(place: Place) -> None:
    """What was written, how many and for which model, and nothing of the person."""
    place.enrol(ANN, faces(2))
    noted = place.journal.chain(ANN)[-1]
    assert (noted.entry.templates, noted.entry.model_sha256, noted.entry.who) == (2, MODEL, "ann")
