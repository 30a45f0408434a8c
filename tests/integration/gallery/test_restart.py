"""Starting again: the snapshot and the tail of the topic give the gallery that the whole topic gives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import REGISTRY

from pipeline.gallery.claims import ClaimDirectory
from pipeline.gallery.protect.transform import Transform
from pipeline.gallery.reader import GalleryReader
from pipeline.gallery.snapshot import header_of
from pipeline.gallery.templates import TemplateFacts
from pipeline.keys.claims import Claim
from pipeline.runtime.health import Health
from schemas.ids import derived_id
from tests.integration.gallery.gallery_world import Place, faces
from tests.stack import create_topics, unique, wait_until

PAYERS = [derived_id("payer", str(number)) for number in range(6)]
TAG = "0123456789abcdef0123456789abcdef"


def content(reader: GalleryReader) -> dict[str, tuple[str, bytes, bool]]:
    """Everything that a reader's index holds."""
    return {
        template_id: (payer_id, vector.tobytes(), bool(flag))
        for part in reader._index.dump_parts()
        for template_id, payer_id, vector, flag in zip(
            part.template_ids, part.payer_ids, part.vectors, part.lookalikes, strict=True
        )
    }


def refusals(reason: str) -> float:
    return REGISTRY.get_sample_value("facepay_gallery_snapshot_outcomes_total", {"outcome": reason}) or 0.0


def filled(place: Place) -> Path:
    """Five payers on the topic and in a snapshot, one of them flagged and one with a telephone; then a sixth comes and
    the first one goes, which only the topic knows."""
    vectors = faces(6)
    for number, payer in enumerate(PAYERS[:5]):
        facts = TemplateFacts(phone_tag=TAG) if number == 1 else TemplateFacts()
        place.enrol(payer, vectors[number][None], pin=None, facts=facts, lookalike=number == 2)
    agent = place.reader(listeners=[ClaimDirectory()], snapshots=place.snapshots())
    path = place.snapshots().path
    wait_until(lambda: header_of(path) is not None, 10, "the snapshot")
    agent.stop()
    (first,) = place.enrol(PAYERS[5], vectors[5][None], pin=None)
    place.write(place.enrol(PAYERS[0], vectors[0][None], pin=None)[0], None)
    assert first
    return path


def test_a_restart_reads_the_snapshot_and_the_tail(place: Place) -> None:
    """The same templates, payers, flags and claims as from the whole topic, from the records behind the snapshot."""
    filled(place)
    claims = ClaimDirectory(), ClaimDirectory()
    warm = place.reader(listeners=[claims[0]], snapshots=place.snapshots())
    cold = place.reader(listeners=[claims[1]])
    assert content(warm) == content(cold)
    assert {payer for payer, _, _ in content(warm).values()} == set(PAYERS[1:])
    assert sum(warm.starts.values()) >= 5
    assert cold.starts == {}
    for directory in claims:
        assert directory.among(Claim("full_number", TAG)) == {PAYERS[1]}
    (match,) = warm.search(faces(6)[2][None])
    assert match is not None
    assert (match.payer_id, match.lookalike) == (PAYERS[2], True)


def tampered(place: Place, path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-40] ^= 1
    path.write_bytes(data)


def another_topic(place: Place, path: Path) -> None:
    place.gallery = unique("gallery")
    create_topics(place.kafka.bootstrap, {place.gallery: 3}, {"cleanup.policy": "compact"})
    for number, payer in enumerate(PAYERS[1:], 1):
        place.enrol(payer, faces(6)[number][None], pin=None, lookalike=number == 2)


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (tampered, "damaged"),
        (another_topic, "another_topic"),
    ],
)
def test_a_snapshot_that_is_not_good_is_not_used(
    place: Place, harm: Callable[[Place, Path], None], reason: str
) -> None:
    """The reader says why, reads the topic from its beginning, finds the same gallery, and writes a good snapshot."""
    path = filled(place)
    harm(place, path)
    before = refusals(reason)
    reader = place.reader(listeners=[ClaimDirectory()], snapshots=place.snapshots())
    assert reader.starts == {}
    assert refusals(reason) == before + 1
    assert content(reader) == content(place.reader())
    assert {payer for payer, _, _ in content(reader).values()} == set(PAYERS[1:])
    wait_until(lambda: header_of(path) is not None, 10, "a new snapshot")
    reader.stop()
    again = place.reader(listeners=[ClaimDirectory()], snapshots=place.snapshots())
    assert sum(again.starts.values()) > 0
    assert content(again) == content(reader)


def test_a_snapshot_of_an_older_key_version_is_not_used(place: Place) -> None:
    """After a re-key its vectors are of another space: the reader starts from the topic."""
    path = filled(place)
    place.keyring.new_version("gallery")
    before = refusals("another_key_version")
    reader = place.reader(listeners=[ClaimDirectory()], snapshots=place.snapshots())
    assert refusals("another_key_version") == before + 1
    assert reader.space.version == 2
    (match,) = reader.search(faces(6)[3][None])
    assert match is not None
    assert match.payer_id == PAYERS[3]
    old, new = Transform.of(place.keyring, 1, 64), reader.space
    assert not np.allclose(old.apply(faces(1)), new.apply(faces(1)))
    wait_until(lambda: (header := header_of(path)) is not None and header.binding.key_version == 2, 10, "a new one")


def test_readiness_waits_for_the_gallery(place: Place) -> None:
    """Until the topic was read the process says how far it is; then it is ready and its share is whole."""
    health = Health("embedding", awaits=("gallery",))
    assert "gallery" in health.missing()
    place.enrol(PAYERS[0], faces(1), pin=None)
    reader = GalleryReader(
        place.kafka, place.keyring, place.reader()._index, "a" * 64, place.data_keys, topic=place.gallery, health=health
    )
    assert health.missing() == {"gallery": "the gallery is not read yet"}
    assert (reader.ready, reader.share) == (False, 0.0)
    place.readers.append(reader)
    reader.start()
    wait_until(lambda: "gallery" not in health.missing(), 10, "readiness")
    assert (reader.ready, reader.share) == (True, 1.0)
