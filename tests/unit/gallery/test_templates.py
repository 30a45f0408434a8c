"""Templates: sealed for one payer, one model and one key, and readable by nobody else."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import InvalidMessage
from pipeline.gallery.templates import open_template, seal_template
from pipeline.keys.keyring import Keyring
from pipeline.ports import Vector
from schemas.codec import decode, encode
from schemas.events import GalleryTemplate
from schemas.ids import derived_id

MODEL = "a" * 64
PAYER = derived_id("a payer")


def an_embedding(seed: int = 1) -> Vector:
    raw = np.random.default_rng(seed).normal(size=128)
    return (raw / np.linalg.norm(raw)).astype(np.float32)


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    return Keyring.create(tmp_path / "keys")


def sealed(keyring: Keyring, seed: int = 1) -> GalleryTemplate:
    return seal_template(keyring, payer_id=PAYER, vector=an_embedding(seed), model_sha256=MODEL, now_us=7)


def test_a_template_opens_to_the_embedding(keyring: Keyring) -> None:
    """Through the bytes of its event a template gives back every bit of the embedding."""
    event = decode(encode(sealed(keyring)), GalleryTemplate)
    assert np.array_equal(open_template(keyring, event), an_embedding())


def test_the_same_picture_is_the_same_template(keyring: Keyring) -> None:
    """Ids derive from payer and embedding; the seal is new each time."""
    one, again, other = sealed(keyring), sealed(keyring), sealed(keyring, seed=2)
    assert (one.template_id, one.event_id) == (again.template_id, again.event_id)
    assert one.sealed != again.sealed
    assert other.template_id != one.template_id


def test_no_embedding_can_be_read_in_a_template(keyring: Keyring) -> None:
    """Canary: no number of the embedding, in any byte order or spelling, is in the event or its representation."""
    event = sealed(keyring)
    blob = encode(event) + repr(event).encode() + base64.b64decode(event.sealed)
    for number in an_embedding():
        spellings = (number.tobytes(), number.byteswap().tobytes(), np.float64(number).tobytes(), repr(float(number)))
        for spelling in spellings:
            assert (spelling.encode() if isinstance(spelling, str) else spelling) not in blob


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"payer_id": derived_id("thief")}, "seal_broken"),
        ({"model_sha256": "b" * 64}, "seal_broken"),
        ({"template_id": derived_id("other")}, "seal_broken"),
        ({"key_version": 2}, "unknown_key_version"),
        ({"sealed": "AAAA"}, "seal_broken"),
        ({"sealed": "A"}, "seal_broken"),
    ],
)
def test_a_template_is_bound_to_its_facts(keyring: Keyring, change: dict[str, object], reason: str) -> None:
    """Given to another payer, model, id or key it does not open."""
    with pytest.raises(InvalidMessage, match=reason):
        open_template(keyring, replace(sealed(keyring), **change))  # type: ignore[arg-type]


def test_another_installation_cannot_open_it(keyring: Keyring, tmp_path: Path) -> None:
    """A template sealed under another keyring is refused."""
    with pytest.raises(InvalidMessage, match="seal_broken"):
        open_template(Keyring.create(tmp_path / "other"), sealed(keyring))


@pytest.mark.parametrize("vector", [np.zeros(8), np.ones(8), np.full(8, np.nan), np.ones((1, 1)), np.ones(0)])
def test_what_is_no_embedding_is_not_sealed(keyring: Keyring, vector: Vector) -> None:
    """A vector that is not finite and of length 1 is refused before it can reach a topic."""
    with pytest.raises(InvalidMessage, match="vector_invalid"):
        seal_template(keyring, payer_id=PAYER, vector=vector.astype(np.float32), model_sha256=MODEL, now_us=7)
