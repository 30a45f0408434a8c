"""The embedding agent's gallery as `bootstrap` wires it, on the real Kafka and Redis: enrolled at the desk, narrowed by
a claim, offered to the hot tier, erased."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from agents.embedding import EmbeddingHandler
from pipeline.bootstrap import open_gallery
from pipeline.gallery.desk import Enrolment, EnrolmentDesk
from pipeline.gallery.hot import HotEraser
from pipeline.gallery.journal import Journal
from pipeline.gallery.protect.data_keys import open_data_keys
from pipeline.gallery.records import write
from pipeline.gallery.templates import TemplateFacts
from pipeline.keys.claims import ClaimedBy, last_four_tag, phone_tag, seal_claim
from pipeline.ports import PayerSearch, Reject, Vector
from pipeline.runtime.admin import apply
from pipeline.runtime.health import Health
from pipeline.runtime.producer import make_producer
from pipeline.settings import Hot, Kafka, Keys, Redis, Settings, Vision
from schemas.codec import decode
from schemas.events import ConsentRecord, PaymentTerms, Recognition
from schemas.ids import derived_id
from tests.stack import unique, wait_until
from tests.unit.test_recognition_claims import MODEL
from tests.unit.vision.agent_world import ANN_FACE, BOB_FACE, NOW_US, TERMS, Scripted, World, make_world, told, unit

NUMBERS = ("+4917100004567", "+4917100014567", "+4917100029999")


def now_us() -> int:
    """Microseconds UTC."""
    return time.time_ns() // 1_000


@dataclass
class Shop:
    """An agent over the gallery as it is wired, and who enrols there."""

    world: World
    scripted: Scripted
    settings: Settings
    gallery: PayerSearch
    payers: tuple[str, ...]

    def enrol(self, payer_id: str, vector: Vector, number: str) -> None:
        """At the desk, with consent and a telephone."""
        keyring = self.world.keyring
        data_keys = open_data_keys(keyring)
        with Journal(self.settings.kafka, "test", now_us) as journal:
            EnrolmentDesk(self.settings.kafka, keyring, data_keys, journal, now_us).enrol(
                Enrolment(
                    payer_id=payer_id,
                    vectors=[vector],
                    model_sha256=self.scripted.embedder_sha256,
                    consent=ConsentRecord(text_version="2026-01", purposes=("face_payment",)),
                    facts=TemplateFacts(phone_tag(keyring, number), last_four_tag(keyring, number)),
                )
            )
        data_keys.close()

    def looked_at(
        self, jpeg: bytes, name: str, kind: ClaimedBy | None = None, number: str = ""
    ) -> tuple[list[str], Recognition | None]:
        """What is told of six frames of a new intent with that claim, and the recognition."""
        terms = replace(TERMS, intent_id=derived_id("intent", name))
        claim = None if kind is None else self.claim(kind, number, terms)
        results = self.world.handler.process([self.world.frame(jpeg, terms, claim=claim) for _ in range(6)])
        emitted = [result[0] for result in results if not isinstance(result, Reject) and result]
        found = [decode(emit.value, Recognition) for emit in emitted if emit.topic == "recognitions"]
        return told(results), found[0] if found else None

    def claim(self, kind: ClaimedBy, number: str, terms: PaymentTerms) -> str:
        """A sealed claim."""
        tag = (phone_tag if kind == "full_number" else last_four_tag)(self.world.keyring, number)
        where = {"terminal_id": terms.terminal_id, "intent_id": terms.intent_id}
        return seal_claim(self.world.keyring, kind, tag, **where)


@pytest.fixture
def shop(tmp_path: Path, kafka: str, redis_url: str) -> Iterator[Shop]:
    """Topics, keys, and the agent's gallery with three payers in it, two of whom share their last four digits."""
    scripted = Scripted()
    # Three templates are too many for these thresholds, two are not.
    scripted.fmr = MODEL
    vision = Vision(repeated_frames="off", max_fpir=2.5 * 30 * MODEL.least)
    world = make_world(tmp_path, scripted, settings=vision)
    settings = Settings(
        kafka=Kafka(bootstrap=kafka),
        redis=Redis(url=redis_url),
        keys=Keys(directory=world.keyring.folder),
        hot=Hot(region=unique("region")),
        vision=vision,
    )
    apply(settings.kafka, replication=1)
    health = Health("embedding", awaits=("gallery",))
    assert "gallery" in health.missing()
    payers = tuple(derived_id("payer", unique("payer")) for _ in NUMBERS)
    with open_gallery(settings, world.keyring, scripted, health) as (gallery, claims):
        world.handler = EmbeddingHandler(
            world.opener, scripted, gallery, vision, lambda: NOW_US, cameras=world.devices.get, claims=claims
        )
        shop = Shop(world, scripted, settings, gallery, payers)
        for payer, vector, number in zip(
            payers, (unit(1, 0, 0, 0.9), unit(0, 1, 0, 0.9), unit(1, 1, -1, 0.2)), NUMBERS, strict=True
        ):
            shop.enrol(payer, vector, number)
        wait_until(lambda: gallery.ready and gallery.size == len(payers), 30, "the gallery is read")
        assert "gallery" not in health.missing()
        yield shop


def test_a_gallery_beyond_the_thresholds_is_narrowed_by_a_claim(shop: Shop) -> None:
    """Three templates are too many: digits are asked for, and with them the payer is recognised among the two who
    share them. Whoever was recognised is in Redis soon. Once erased, nobody finds them, whatever is claimed."""
    ann, bob = shop.scripted.picture([ANN_FACE]), shop.scripted.picture([BOB_FACE])
    assert shop.looked_at(ann, "first") == (["enter_last_four!", *["-"] * 5], None)
    words, seen = shop.looked_at(ann, "with digits", "last_four", "4567")
    assert words == [shop.payers[0], *["-"] * 5]
    assert seen is not None
    assert (seen.claim, seen.candidates, seen.gallery_size, seen.searched) == ("last_four", 2, 3, "exact")
    assert shop.looked_at(bob, "another's number", "full_number", NUMBERS[0])[0][-1] == "not_recognised!"
    assert shop.looked_at(bob, "with a number", "full_number", NUMBERS[1])[0][0] == shop.payers[1]

    eraser = HotEraser(
        shop.settings.redis, shop.settings.hot, shop.world.keyring, model_sha256=shop.scripted.embedder_sha256
    )
    wait_until(lambda: eraser.holds(shop.payers[0]), 10, "Ann is hot")
    write(make_producer(shop.settings.kafka), "gallery", [(shop.payers[0], None)], attempt="erasing")
    wait_until(lambda: shop.gallery.size == 2, 10, "Ann's templates are gone")
    assert shop.looked_at(ann, "with digits again", "last_four", "4567")[0][-1] == "not_recognised!"
    assert shop.looked_at(ann, "with a number again", "full_number", NUMBERS[0])[0][-1] == "not_recognised!"
    assert shop.looked_at(ann, "two are few enough")[0][-1] == "not_recognised!"
