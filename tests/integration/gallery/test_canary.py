"""Canary: nothing of a face is readable where it lies, and the canary would sing."""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from pipeline.gallery.snapshot import header_of
from pipeline.gallery.templates import TemplateFacts
from pipeline.keys.claims import last_four_tag, phone_tag
from pipeline.local import LocalStack
from pipeline.ports import Vector
from schemas.ids import derived_id
from tests.integration.gallery.gallery_world import DIMENSION, Place, faces
from tests.stack import wait_until

PIN, NUMBER = "86420864", "+4915112345678"
RUN = 3
"""So many numbers of an embedding in a row are no accident."""


def spellings(vectors: Vector) -> list[bytes]:
    """How runs of an embedding's numbers could be spelled: single and half precision in both byte orders, decimal;
    each also as base64 spells it at each of its three offsets."""
    plain: list[bytes] = []
    for vector in vectors:
        for start in range(0, DIMENSION - RUN, 7):
            run = vector[start : start + RUN]
            for kind in (np.float32, np.float16, np.float64):
                plain += [run.astype(kind).tobytes(), run.astype(kind).byteswap().tobytes()]
            plain.append(", ".join(repr(float(number)) for number in run).encode())
            plain.append(",".join(f"{float(number):.6f}" for number in run).encode())
    return plain + [inner(text, offset) for text in plain for offset in range(3)]


def inner(text: bytes, offset: int) -> bytes:
    """What base64 makes of `text` behind `offset` other bytes, without the characters that those decide too."""
    spelled = base64.b64encode(bytes(offset) + text)
    return spelled[4 if offset else 0 : -4]


def segments(stack: LocalStack, place: Place) -> list[Path]:
    """Kafka's log segments of the installation's topics."""
    topics = place.gallery, place.payers, place.journal_topic
    return [path for path in stack.data_dir.rglob("*.log") if path.parent.name.rpartition("-")[0] in topics]


def found_in(files: Iterable[Path], canaries: list[bytes]) -> set[Path]:
    """The files that hold one of them."""
    return {path for path in files for data in [path.read_bytes()] if any(canary in data for canary in canaries)}


def test_no_face_is_readable_on_any_disk(
    place: Place, stack: LocalStack, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """After an enrolment with PIN and telephone, a snapshot and an erasure: no run of an embedding's numbers, in clear
    or in the keyed space, no PIN and no telephone number in Kafka's log segments, in the snapshots, in the store of
    data keys or in a log."""
    caplog.set_level(logging.DEBUG)
    vectors = faces(3, seed=77)
    facts = TemplateFacts(phone_tag(place.keyring, NUMBER), last_four_tag(place.keyring, NUMBER))
    ann, ben = derived_id("payer", "canary"), derived_id("payer", "bird")
    place.enrol(ann, vectors[:2], pin=PIN, facts=facts)
    place.enrol(ben, vectors[2:], pin=PIN, facts=facts)
    reader = place.reader(snapshots=place.snapshots(), report_as="shop-0")
    wait_until(lambda: header_of(place.snapshots().path) is not None, 10, "the snapshot")
    (place.folder / "before").write_bytes(place.snapshots().path.read_bytes())
    assert place.erasure().erase(ann).complete

    canaries = spellings(vectors) + spellings(reader.space.apply(vectors)) + [PIN.encode(), NUMBER.encode()]
    on_kafka = segments(stack, place)
    assert sum(path.stat().st_size for path in on_kafka) > 1000
    assert found_in(on_kafka, canaries) == set()
    assert found_in((path for path in place.folder.rglob("*") if path.is_file()), canaries) == set()
    said = (caplog.text + "".join(capsys.readouterr())).encode()
    assert not any(canary in said for canary in canaries)


def test_the_canary_sings(place: Place, stack: LocalStack) -> None:
    """A vector that somebody writes to Kafka in clear, however it is spelled, is found in a log segment."""
    vectors = faces(5, seed=99)
    space = place.reader().space
    spelled = [
        vectors[0].tobytes(),
        space.apply(vectors[1]).tobytes(),
        vectors[2].astype(np.float16).tobytes(),
        base64.b64encode(b"x" + vectors[3].tobytes()),
        repr([float(number) for number in vectors[4]]).encode(),
    ]
    for vector, text in zip(vectors, spelled, strict=True):
        canaries = spellings(np.stack([vector, space.apply(vector)]))
        assert not found_in(segments(stack, place), canaries)
        place.write("planted", text)
        assert found_in(segments(stack, place), canaries)
