"""Enrolment to search over the real Kafka: what one process enrols another one finds, and nobody reads on the way."""

from __future__ import annotations

import base64
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import KafkaUnavailable, UsageError
from pipeline.gallery import records
from pipeline.gallery.templates import seal_template
from pipeline.keys.keyring import Keyring
from pipeline.keys.pins import check_pin, open_verifier, pin_pepper
from pipeline.runtime.producer import make_producer
from pipeline.runtime.reader import read_topic
from pipeline.settings import Kafka
from schemas.codec import decode, encode
from schemas.events import PayerProfile
from schemas.ids import derived_id
from tests.integration.gallery.gallery_world import DIMENSION, MODEL, Place, faces
from tests.stack import wait_until


def test_who_was_enrolled_is_found(place: Place) -> None:
    """A process that starts after the enrolment finds each payer by each picture, and their PINs open."""
    payers = [derived_id("payer", str(i)) for i in range(5)]
    vectors = faces(10).reshape(5, 2, DIMENSION)
    ids = [place.enrol(payer, mine) for payer, mine in zip(payers, vectors, strict=True)]
    reader = place.reader()
    assert (reader.ready, reader.size, reader.refused) == (True, 10, {})
    for i, payer in enumerate(payers):
        matches = reader.search(vectors[i])
        assert [m.payer_id for m in matches if m] == [payer] * 2
        assert [m.template_id for m in matches if m] == ids[i]
    profiles = {
        message.key: decode(message.value, PayerProfile)
        for message in read_topic(place.kafka, place.payers, read_committed=False)
    }
    assert set(profiles) == {payer.encode() for payer in payers}
    sealed = base64.b64decode(profiles[payers[3].encode()].sealed_pin_verifier)
    assert check_pin("1357", open_verifier(place.keyring, payers[3], sealed), pin_pepper(place.keyring))


def test_the_gallery_follows_the_topic(place: Place) -> None:
    """While a process searches, a new payer appears and a tombstone takes a template out."""
    one, other = faces(2)
    payer = derived_id("payer")
    (first,) = place.enrol(payer, one[None])
    reader = place.reader()
    (second,) = place.enrol(payer, other[None])
    wait_until(lambda: reader.size == 2, 10, "the second template")
    place.write(first, None)
    wait_until(lambda: reader.size == 1, 10, "the tombstone")
    (match,) = reader.search(one[None])
    assert match is not None
    assert match.template_id == second
    assert reader.refused == {}, "a tombstone is no damaged record"


def test_a_payer_s_tombstone_takes_everything_of_the_payer_out(place: Place) -> None:
    """One record, by the payer's id, before anybody has looked for the templates; other payers stay."""
    ann, ben = derived_id("payer", "ann"), derived_id("payer", "ben")
    place.enrol(ann, faces(2), pin=None)
    place.enrol(ben, faces(1, seed=3), pin=None)
    reader = place.reader()
    assert reader.size == 3
    place.write(ann, None)
    wait_until(lambda: reader.size == 1, 10, "the payer's tombstone")
    (match,) = reader.search(faces(1, seed=3))
    assert match is not None
    assert match.payer_id == ben
    assert reader.refused == {}


def test_enrolling_again_writes_the_same_templates(place: Place) -> None:
    """A repeated enrolment has the same ids and one template per picture; without a PIN no profile is written."""
    payer, vectors = derived_id("payer"), faces(2)
    assert place.enrol(payer, vectors, pin=None) == place.enrol(payer, vectors, pin=None)
    assert place.reader().size == 2
    assert not list(read_topic(place.kafka, place.payers, read_committed=False))


def test_what_cannot_be_matched_is_refused_and_counted(place: Place, tmp_path: Path) -> None:
    """A template of another model, under another key, for another payer than it was sealed for, under a key that is not
    its id, of another length, or no template at all is never searched; its neighbours are."""
    good, *bad = (place.template(vector) for vector in faces(6))
    stranger = Keyring.create(tmp_path / "other-keys")
    under_another_key = seal_template(
        stranger, place.data_keys, payer_id=good.payer_id, vector=faces(1, seed=5)[0], model_sha256=MODEL, now_us=7
    )
    short = place.template(faces(1, seed=6)[0][:8] / np.linalg.norm(faces(1, seed=6)[0][:8]))
    records = [
        (bad[0].template_id, encode(replace(bad[0], model_sha256="b" * 64))),
        (under_another_key.template_id, encode(under_another_key)),
        (bad[1].template_id, encode(replace(bad[1], payer_id=derived_id("thief")))),
        (good.template_id[::-1], encode(bad[2])),
        (bad[3].template_id, b"{"),
        (bad[4].template_id, encode(replace(bad[4], key_version=9))),
        (short.template_id, encode(short)),
        (good.template_id, encode(good)),
    ]
    for key, value in records:
        place.write(key, value)
    reader = place.reader()
    assert reader.size == 1
    assert reader.refused == {
        "another_model": 1,
        "seal_broken": 2,
        "wrong_key": 1,
        "not_json": 1,
        "unknown_key_version": 1,
        "vector_invalid": 1,
    }


def test_a_refused_record_takes_its_older_template_out(place: Place) -> None:
    """Whether a process saw the older record or compaction removed it, the gallery is the same."""
    template = place.template(faces(1)[0])
    place.write(template.template_id, encode(template))
    place.write(template.template_id, encode(replace(template, model_sha256="b" * 64)))
    assert place.reader().size == 0


def test_no_embedding_or_pin_is_readable_on_the_topics(place: Place) -> None:
    """Canary: no number of an embedding and no PIN is in any byte that Kafka gives back."""
    vectors = faces(3)
    place.enrol(derived_id("payer"), vectors, pin="86420864")
    blob = b""
    for topic in (place.gallery, place.payers):
        for message in read_topic(place.kafka, topic, read_committed=False):
            value = message.value or b""
            blob += value + (message.key or b"") + repr(message.headers).encode()
            for part in value.split(b'"'):
                if len(part) > 60 and len(part) % 4 == 0:
                    blob += base64.b64decode(part)
    assert len(blob) > 3 * DIMENSION * 4
    for number in vectors.ravel():
        for spelling in (number.tobytes(), number.byteswap().tobytes(), repr(float(number)).encode()):
            assert spelling not in blob
    assert b"86420864" not in blob


def test_a_bad_pin_writes_nothing(place: Place) -> None:
    """A PIN that is none is refused before the first record."""
    with pytest.raises(UsageError, match="4 to 12 digits"):
        place.enrol(derived_id("payer"), faces(1), pin="12")
    assert place.reader().size == 0


def test_an_enrolment_that_was_not_confirmed_says_so(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a broker an enrolment ends in a bounded time with an error, never with ids."""
    monkeypatch.setattr(records, "CONFIRM_S", 1.0)
    place.producer = make_producer(Kafka(bootstrap="127.0.0.1:1"))
    start = time.monotonic()
    with pytest.raises(KafkaUnavailable, match="were not confirmed"):
        place.enrol(derived_id("payer"), faces(1))
    assert time.monotonic() - start < 10
