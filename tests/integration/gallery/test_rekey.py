"""Re-keying over the real Kafka: nobody is missed while it runs, and what was before is worth nothing after it."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import InvalidMessage, OutsideError, UsageError
from pipeline.gallery import rekey as module
from pipeline.gallery.index import ExactIndex
from pipeline.gallery.mirrors import Reports
from pipeline.gallery.protect.data_keys import FILE_NAME, open_data_keys
from pipeline.gallery.protect.transform import Transform
from pipeline.gallery.reader import GalleryReader
from pipeline.gallery.rekey import Rekey, Rekeyed, Unreadable, prepare
from pipeline.gallery.survey import survey
from pipeline.gallery.templates import TemplateFacts, open_template, open_templates, seal_template, with_lookalike
from pipeline.keys.keyring import Keyring
from pipeline.ports import Vector
from pipeline.runtime.producer import make_producer
from pipeline.runtime.reader import read_topic
from pipeline.settings import Kafka
from schemas.codec import decode, encode
from schemas.events import GalleryTemplate
from schemas.ids import derived_id
from tests.stack import create_topics, unique, wait_until

MODEL, OTHER_MODEL = "a" * 64, "b" * 64
DIMENSION = 64
SAME = 0.99
STRANGERS = 0.65
"""Cosines of unrelated directions in 64 dimensions stay below it: 5.2 standard deviations."""


PEOPLE, FACES = 75, 150


def payer(number: int) -> str:
    return derived_id("payer", str(number))


class Place:
    """One installation with a gallery of its own: `people` payers, two templates each."""

    def __init__(self, bootstrap: str, folder: Path, people: int) -> None:
        self.kafka = Kafka(bootstrap=bootstrap)
        self.keyring = Keyring.create(folder)
        self.data_keys = open_data_keys(self.keyring)
        self.topic = unique("gallery")
        create_topics(bootstrap, {self.topic: 3}, {"cleanup.policy": "compact"})
        self.producer = make_producer(self.kafka)
        self.readers: list[GalleryReader] = []
        self.stop_searching = threading.Event()
        raw = np.random.default_rng(1).normal(size=(2 * people, DIMENSION))
        self.faces: Vector = (raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float32)
        self.payers = [payer(n // 2) for n in range(2 * people)]
        self.data_keys.create_many(self.payers, 1)
        self.templates = [self.seal(owner, face) for owner, face in zip(self.payers, self.faces, strict=True)]
        self.write(*((template.template_id, template) for template in self.templates))

    def seal(self, owner: str, face: Vector, model: str = MODEL) -> GalleryTemplate:
        return seal_template(
            self.keyring, self.data_keys, payer_id=owner, vector=face, model_sha256=model, now_us=7,
            facts=TemplateFacts(phone_tag=owner.replace("-", "")),
        )  # fmt: skip

    def write(self, *records: tuple[str, GalleryTemplate | None]) -> None:
        for key, template in records:
            self.producer.produce(self.topic, None if template is None else encode(template), key=key)
        assert self.producer.flush(20) == 0

    def reader(self, report_as: str | None = None) -> GalleryReader:
        reader = GalleryReader(
            self.kafka, self.keyring, ExactIndex(DIMENSION), MODEL, self.data_keys, topic=self.topic,
            report_as=report_as,
        )  # fmt: skip
        self.readers.append(reader)
        reader.start()
        assert reader.wait_ready(20)
        return reader

    def rekey(self, *, settle_s: float = 0, mirrors_s: float = 20, drop_unreadable: bool = False) -> Rekeyed:
        return self.rekeying(settle_s, mirrors_s, drop_unreadable).run()

    def rekeying(self, settle_s: float = 0, mirrors_s: float = 20, drop_unreadable: bool = False) -> Rekey:
        return Rekey(
            self.kafka, self.keyring, self.data_keys, topic=self.topic, settle_s=settle_s, mirrors_s=mirrors_s,
            drop_unreadable=drop_unreadable,
        )  # fmt: skip

    def newest(self) -> dict[str, GalleryTemplate]:
        """What compaction would leave."""
        found: dict[str, GalleryTemplate] = {}
        for message in read_topic(self.kafka, self.topic, read_committed=False):
            key = (message.key or b"").decode()
            found.pop(key, None)
            if message.value is not None:
                found[key] = decode(message.value, GalleryTemplate)
        return found

    def missed(self, reader: GalleryReader, who: Sequence[int] | None = None) -> int:
        """How many of the enrolled faces (all, or these) the reader does not find as who they are."""
        asked = list(range(len(self.faces)) if who is None else who)
        matches = reader.search(self.faces[asked])
        return sum(
            match is None or match.payer_id != self.payers[at] or match.similarity < SAME
            for at, match in zip(asked, matches, strict=True)
        )


@pytest.fixture
def place(kafka: str, tmp_path: Path) -> Iterator[Place]:
    place = Place(kafka, tmp_path / "keys", people=PEOPLE)
    yield place
    for reader in place.readers:
        reader.stop()
    place.data_keys.close()


class Searching:
    """A reader that is searched for everybody without a pause."""

    def __init__(self, place: Place, reader: GalleryReader) -> None:
        self._place, self._reader = place, reader
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.rounds = self.missed = 0

    def _run(self) -> None:
        while not self._stop.is_set():
            self.missed += self._place.missed(self._reader)
            self.rounds += 1

    def __enter__(self) -> Searching:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)


def test_nobody_is_missed_while_a_gallery_is_rekeyed(place: Place) -> None:
    """An agent that searches all the time finds everybody at any moment, and so does one that starts in the middle;
    after it, old records do not open, and old protected vectors are strangers to the new gallery."""
    old_space = Transform.of(place.keyring, 1, DIMENSION)
    before = [open_template(place.keyring, place.data_keys, t, space=old_space) for t in place.templates]
    running = place.reader(report_as="agent-1")
    with Searching(place, running) as searching:
        rekeying = place.rekeying()
        rest, joined = rekeying._settle, list[GalleryReader]()

        def in_the_middle(version: int) -> None:
            joined.append(place.reader())
            rest(version)

        rekeying._settle = in_the_middle  # type: ignore[method-assign]
        done = rekeying.run()
        rounds = searching.rounds
        wait_until(lambda: searching.rounds > rounds + 2, 20, "some searches after the re-key")
    assert searching.missed == 0
    assert searching.rounds > 5
    assert (done.version, done.retired, done.rewritten, done.templates, done.buried) == (2, (1,), FACES, FACES, {})
    assert done.data_keys_destroyed == PEOPLE
    assert place.keyring.versions("gallery") == (2,)
    assert place.data_keys.counts() == {2: PEOPLE}

    late = place.reader()
    for reader in (running, joined[0], late):
        assert (reader.size, place.missed(reader)) == (FACES, 0)
    assert (running.space.version, joined[0].space.version, late.space.version) == (1, 2, 2)

    answers = open_templates(place.keyring, place.data_keys, place.templates, space=old_space)
    assert {a.reason for a in answers if isinstance(a, InvalidMessage)} == {"data_key_destroyed"}
    assert not any(not isinstance(a, InvalidMessage) for a in answers)
    new = place.newest()
    assert {t.key_version for t in new.values()} == {2}
    protected = open_templates(place.keyring, place.data_keys, [new[t.template_id] for t in before], space=late.space)
    fresh = np.stack([p.vector for p in protected if not isinstance(p, InvalidMessage)])
    stolen = np.stack([opened.vector for opened in before])
    cosines = stolen @ fresh.T
    assert np.abs(cosines).max() < STRANGERS, "nobody is like anybody, themselves included"
    assert abs(float(np.diag(cosines).std()) - DIMENSION**-0.5) < 0.03
    assert abs(float(np.diag(cosines).mean())) < 0.04
    facts = [p.facts.phone_tag for p in protected if not isinstance(p, InvalidMessage)]
    assert facts == [owner.replace("-", "") for owner in place.payers]


def test_what_is_removed_or_of_another_model_stays_so(place: Place) -> None:
    """Tombstoned templates are not brought back, flags and models stay, an erased payer's leftovers are buried."""
    removed, flagged = place.templates[0], with_lookalike(place.keyring, place.data_keys, place.templates[1])
    foreign = place.seal(payer(7), place.faces[3], model=OTHER_MODEL)
    place.write((removed.template_id, None), (flagged.template_id, flagged), (foreign.template_id, foreign))
    place.data_keys.destroy(payer(5))
    done = place.rekey()
    new = place.newest()
    assert removed.template_id not in new
    assert new[flagged.template_id].lookalike is True
    assert (new[foreign.template_id].model_sha256, new[foreign.template_id].key_version) == (OTHER_MODEL, 2)
    assert done.buried == {"data_key_destroyed": 2}
    assert not {t.template_id for t in place.templates if t.payer_id == payer(5)} & set(new)
    assert len(new) == done.templates == FACES - 1 + 1 - 2
    reader = place.reader()
    assert place.missed(reader, [n for n in range(FACES) if n not in {0, 10, 11}]) == 0
    assert reader.refused == {"another_model": 1}


def test_a_word_that_was_overtaken_is_said_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between our reading and our writing others remove a template, flag one, erase a payer and enrol with the old
    version: the end is as they said, all in the new version."""
    removed, flagged = place.templates[20], place.templates[21]
    late = place.seal(payer(900), place.faces[0] * -1)
    write, raced = Rekey._write_batch, list[bool]()

    def race(self: Rekey, *arguments: object) -> None:
        if not raced:
            raced.append(True)
            with_flag = with_lookalike(place.keyring, place.data_keys, flagged)
            place.write(
                (removed.template_id, None), (flagged.template_id, with_flag), (late.template_id, late)
            )  # fmt: skip
            place.data_keys.destroy(payer(30))
        write(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Rekey, "_write_batch", race)
    place.rekey()
    new = place.newest()
    assert removed.template_id not in new
    assert new[flagged.template_id].lookalike is True
    assert payer(30) not in {t.payer_id for t in new.values()}
    assert {t.key_version for t in new.values()} == {2}
    assert late.template_id in new
    assert not survey(read_topic(place.kafka, place.topic, read_committed=False)).overtaken
    assert place.missed(place.reader(), [n for n in range(FACES) if n not in {20, 60, 61}]) == 0


def _rekey(bootstrap: str, folder: str, topic: str) -> None:
    module._AT_ONCE = 10
    keyring = Keyring.open(Path(folder))
    Rekey(Kafka(bootstrap=bootstrap), keyring, open_data_keys(keyring), topic=topic, settle_s=60).run()


def test_a_killed_rekey_goes_on(place: Place) -> None:
    """Killed by the system in the middle, it is run again: nobody is missed before, between and after."""
    running = place.reader()
    process = multiprocessing.get_context("spawn").Process(
        target=_rekey, args=(place.kafka.bootstrap, str(place.keyring.folder), place.topic)
    )
    with Searching(place, running) as searching:
        process.start()
        wait_until(lambda: place.data_keys.counts().get(2, 0) > 20, 40, "the re-key to be under way")
        process.kill()
        process.join(20)
        assert place.keyring.versions("gallery") == (1, 2)
        assert place.missed(place.reader()) == 0
        done = place.rekey()
    assert searching.missed == 0
    assert (done.version, done.retired, place.keyring.versions("gallery")) == (2, (1,), (2,))
    assert {t.key_version for t in place.newest().values()} == {2}
    assert (place.data_keys.counts(), place.missed(place.reader())) == ({2: PEOPLE}, 0)


@pytest.mark.parametrize("point", ["retire_below", "destroy_version"])
def test_a_rekey_that_died_while_destroying_goes_on(place: Place, point: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With everything rewritten, and the old data keys gone or not, the same version is finished, no other begun."""
    with monkeypatch.context() as patch:
        patch.setattr(
            place.data_keys if point == "retire_below" else place.keyring, point,
            lambda *_: (_ for _ in ()).throw(KeyboardInterrupt),
        )  # fmt: skip
        with pytest.raises(KeyboardInterrupt):
            place.rekey()
    assert place.keyring.versions("gallery") == (1, 2)
    done = place.rekey()
    assert (done.version, done.rewritten, place.keyring.versions("gallery")) == (2, 0, (2,))
    assert (place.data_keys.counts(), place.missed(place.reader())) == ({2: PEOPLE}, 0)


def test_templates_that_do_not_open_stop_it(place: Place) -> None:
    """With data keys of another gallery nothing is destroyed; with the right ones it goes on; what nobody can open is
    given up only on demand."""
    right, path = place.data_keys, place.keyring.folder / FILE_NAME
    place.data_keys = open_data_keys(place.keyring, f"sqlite:///{path.with_name('other.db')}")
    with pytest.raises(Unreadable, match=f"{FACES} unknown_data_key"):
        place.rekey()
    place.data_keys.close()
    place.data_keys = right
    assert place.keyring.versions("gallery") == (1, 2)
    assert right.counts() == {1: PEOPLE}
    assert place.missed(place.reader()) == 0

    broken = place.templates[4]
    place.write((broken.template_id, replace(broken, sealed="AAAA")))
    with pytest.raises(Unreadable, match="1 seal_broken"):
        place.rekey()
    assert right.counts()[1] == PEOPLE
    done = place.rekey(drop_unreadable=True)
    assert (done.buried, done.templates) == ({"seal_broken": 1}, FACES - 1)
    assert place.keyring.versions("gallery") == (2,)


def test_an_agent_that_does_not_follow_is_waited_for(place: Place) -> None:
    """While a living agent has not read the new records, the old keys stay; without it they go."""
    place.reader(report_as="follows")
    stuck = Reports(place.kafka, place.topic, unique("stuck"), clock=lambda: 2**60)
    stuck.applied({0: 1, 1: 1, 2: 1}, soon=True)
    stuck.start()
    with pytest.raises(OutsideError, match=r"stuck-.* did not follow within 1 s, and nothing was destroyed"):
        wait_until(lambda: place.rekey(mirrors_s=0.6) is None, 20, "the agent's report")
    assert place.data_keys.counts()[1] == PEOPLE
    stuck.stop()
    assert place.rekey().retired == (1,)


def test_another_machine_gets_the_key_first(place: Place) -> None:
    """A prepared version is made once, readable and not in force; the re-key takes it, and never two at once."""
    assert (prepare(place.keyring), prepare(place.keyring)) == (2, 2)
    assert place.seal(payer(3), place.faces[6]).key_version == 1
    assert place.rekey().version == 2
    place.keyring.new_version("gallery")
    with pytest.raises(UsageError, match="one is under way"):
        prepare(place.keyring)
