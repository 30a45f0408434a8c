"""Refreshing a template after a payment, over the real Kafka: one adaptive template, from a settled intent only."""

from __future__ import annotations

import numpy as np

from pipeline.domain.ageing import Refresh
from pipeline.gallery.refresh import LATE_US, Refresher, adaptive_id
from pipeline.ports import Vector
from schemas.events import Evidence, PaymentTerms, Recognition, Settlement
from schemas.ids import derived_id
from tests.integration.gallery.gallery_world import MODEL, Place, faces
from tests.stack import wait_until

ANN = derived_id("payer", "ann")
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
DAY_US = 86_400_000_000


def aged(vector: Vector, cosine: float, seed: int) -> Vector:
    """A face whose cosine to `vector` is about `cosine`."""
    other = faces(1, seed=seed)[0]
    other = other - (other @ vector) * vector
    mixed = cosine * vector + np.sqrt(1 - cosine**2) * other / np.linalg.norm(other)
    result: Vector = (mixed / np.linalg.norm(mixed)).astype(np.float32)
    return result


class Till:
    """A refresher with a clock, and the two events it hears of an intent."""

    def __init__(self, place: Place) -> None:
        self.now_us = 1_000 * DAY_US
        self.reader = place.reader()
        place.journal._clock = lambda: self.now_us
        self.refresher = Refresher(
            Refresh(strong=0.65), self.reader._index, self.reader.space, place.keyring, place.data_keys,
            place.producer, place.journal, lambda: self.now_us, max_waiting=3, topic=place.gallery,
        )  # fmt: skip

    def seen(self, intent: str, embedding: Vector, similarity: float) -> None:
        terms = PaymentTerms(
            intent_id=derived_id(intent), terminal_id="t", merchant_id="m", payee_id="p", amount_minor=1,
            currency="EUR", opened_at_us=self.now_us, expires_at_us=self.now_us + 20_000_000, key_epoch=1,
        )  # fmt: skip
        self.refresher.recognised(
            Recognition(
                event_id=derived_id(intent, "r"), terminal_id="t", intent_id=terms.intent_id, trace=TRACE, terms=terms,
                payer_id=ANN, similarity=similarity, margin=0.5, threshold=0.475, frames_used=1, frames_seen=1,
                gallery_size=1, model_sha256=MODEL, liveness=0.9, liveness_proven=True, eyes_open=True, quality=0.9,
                lookalike=False, captured_at_us=self.now_us, recognised_at_us=self.now_us,
            ),
            embedding,
        )  # fmt: skip

    def settled(self, intent: str, outcome: str = "settled", payer: str = ANN) -> str:
        return self.refresher.settled(
            Settlement(
                event_id=derived_id(intent, "s"), terminal_id="t", intent_id=derived_id(intent), trace=TRACE,
                outcome=outcome, reasons=(), merchant_id="m", payee_id="p", merchant_order_id="o", amount_minor=1,  # type: ignore[arg-type]
                currency="EUR", payer_id=payer, method="face_pin", opened_at_us=0, expires_at_us=1, decided_at_us=1,
                evidence=Evidence(),
            )
        )  # fmt: skip


def test_a_face_that_aged_gets_one_adaptive_template(place: Place) -> None:
    """A settled payment writes it, a month later another one takes its place, the enrolled picture stays, and a face
    that has gone too far from that is not taken however near the adaptive one is."""
    enrolled = faces(1)[0]
    (original,) = place.enrol(ANN, enrolled[None], pin=None)
    till = Till(place)

    def held() -> dict[str, Vector]:
        return dict(till.reader._index.templates_of(ANN))

    first = aged(enrolled, 0.75, 5)
    till.seen("one", first, 0.75)
    assert till.settled("one") == "refreshed"
    wait_until(lambda: len(held()) == 2, 10, "the adaptive template")
    assert np.allclose(held()[adaptive_id(ANN)], till.reader.space.apply(first), atol=1e-6)

    second = aged(enrolled, 0.7, 6)
    till.seen("two", second, 0.8)
    assert till.settled("two") == "too_soon"
    till.now_us += 31 * DAY_US
    till.seen("three", second, 0.8)
    assert till.settled("three") == "refreshed"
    wait_until(lambda: np.allclose(held()[adaptive_id(ANN)], till.reader.space.apply(second), atol=1e-6), 10, "it")
    assert held().keys() == {original, adaptive_id(ANN)}

    till.now_us += 31 * DAY_US
    beyond = aged(second, 0.8, 7)
    till.seen("four", beyond, 0.8)
    assert till.settled("four") == "too_far"
    assert place.deeds(ANN) == ["consent_given", "enrolled", "template_refreshed", "template_refreshed"]
    assert place.erasure().erase(ANN).complete
    wait_until(lambda: not held(), 10, "the adaptive one goes with the payer")


def test_only_what_was_settled_for_this_payer_counts(place: Place) -> None:
    """Another outcome, another payer, an intent that is not known, too old, or one of too many: nothing is written."""
    enrolled = faces(1)[0]
    place.enrol(ANN, enrolled[None], pin=None)
    till = Till(place)
    face = aged(enrolled, 0.75, 5)
    assert till.settled("unseen") == "unknown"
    till.seen("declined", face, 0.75)
    assert till.settled("declined", "declined") == "not_settled"
    till.seen("another", face, 0.75)
    assert till.settled("another", payer=derived_id("payer", "ben")) == "unknown"
    till.seen("old", face, 0.75)
    till.now_us += LATE_US + 20_000_001
    for intent in ("a", "b", "c", "d"):
        till.seen(intent, face, 0.75)
    assert till.settled("old") == "unknown"
    assert till.settled("a") == "unknown", "three are remembered"
    place.data_keys.destroy(ANN)
    assert till.settled("b") == "payer_erased"
    assert place.reader().size == 0
