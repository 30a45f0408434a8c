"""Templates: sealed for one payer, one model and one key, readable by nobody else, and useless once a key is gone."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import DataKeyError, InvalidMessage, SealError
from pipeline.gallery.protect.data_keys import SqlDataKeys, open_data_keys
from pipeline.gallery.protect.transform import Transform
from pipeline.gallery.templates import (
    TemplateFacts,
    open_template,
    open_templates,
    reseal,
    seal_template,
    template_id,
    with_lookalike,
)
from pipeline.keys.derivation import derive, length_prefixed
from pipeline.keys.keyring import Keyring
from pipeline.keys.seals import AesGcmSeal
from pipeline.ports import Vector
from schemas.codec import decode, encode
from schemas.events import GalleryTemplate
from schemas.ids import derived_id

MODEL = "a" * 64
PAYER = derived_id("a payer")
DIMENSION = 128


def an_embedding(seed: int = 1) -> Vector:
    raw = np.random.default_rng(seed).normal(size=DIMENSION)
    return (raw / np.linalg.norm(raw)).astype(np.float32)


class Place:
    """A keyring with its data keys, as it is now."""

    def __init__(self, folder: Path) -> None:
        self.keyring = Keyring.create(folder)
        self.data_keys: SqlDataKeys = open_data_keys(self.keyring)

    @property
    def space(self) -> Transform:
        return Transform.of(self.keyring, self.keyring.gallery_version, DIMENSION)

    def sealed(
        self, seed: int = 1, payer: str = PAYER, facts: TemplateFacts | None = None, lookalike: bool | None = None
    ) -> GalleryTemplate:
        return seal_template(
            self.keyring, self.data_keys, payer_id=payer, vector=an_embedding(seed), model_sha256=MODEL, now_us=7,
            facts=facts, lookalike=lookalike,
        )  # fmt: skip

    def clear(self, event: GalleryTemplate, space: Transform | None = None) -> Vector:
        """The clear embedding of a template that opens in `space`, else in that of the version in force."""
        space = space or self.space
        return space.undo(open_template(self.keyring, self.data_keys, event, space=space).vector)

    def refusal(self, event: GalleryTemplate) -> str:
        """The reason for which a template is refused."""
        with pytest.raises(InvalidMessage) as refused:
            open_template(self.keyring, self.data_keys, event, space=self.space)
        return refused.value.reason


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path / "keys")
    yield place
    place.data_keys.close()


def same(one: Vector, other: Vector) -> bool:
    """Equal but for the rounding of float32."""
    return bool(np.abs(one - other).max() < 1e-6)


def test_a_template_opens_to_the_protected_embedding(place: Place) -> None:
    """Through the bytes of its event a template gives back the embedding in the protected space, with its facts."""
    facts = TemplateFacts(phone_tag="a" * 32, last_four_tag="b" * 32)
    event = decode(encode(place.sealed(facts=facts, lookalike=True)), GalleryTemplate)
    opened = open_template(place.keyring, place.data_keys, event, space=place.space)
    assert np.array_equal(opened.vector, place.space.apply(an_embedding()))
    assert same(place.space.undo(opened.vector), an_embedding())
    assert (opened.facts, opened.lookalike, opened.payer_id, opened.model_sha256) == (facts, True, PAYER, MODEL)
    bare = open_template(place.keyring, place.data_keys, place.sealed(seed=2), space=place.space)
    assert (bare.facts, bare.lookalike) == (TemplateFacts(), False)


def test_the_same_picture_is_the_same_template(place: Place) -> None:
    """Ids derive from payer and embedding; the seal is new each time, the payer's data key is not."""
    one, again, other = place.sealed(), place.sealed(), place.sealed(seed=2)
    assert (one.template_id, one.event_id) == (again.template_id, again.event_id)
    assert one.sealed != again.sealed
    assert other.template_id != one.template_id
    assert one.data_key_id == other.data_key_id


def test_no_embedding_or_fact_can_be_read_in_a_template(place: Place) -> None:
    """Canary: no number of the embedding, clear or protected, in any byte order or spelling, and no tag is in the event
    or its representation, nor in what an opened template says of itself."""
    facts = TemplateFacts(phone_tag="cafe" * 8, last_four_tag="beef" * 8)
    event = place.sealed(facts=facts)
    opened = open_template(place.keyring, place.data_keys, event, space=place.space)
    blob = encode(event) + repr(event).encode() + base64.b64decode(event.sealed) + repr(opened).encode()
    assert b"cafe" not in blob
    assert b"beef" not in blob
    for number in [*an_embedding(), *opened.vector]:
        spellings = (number.tobytes(), number.byteswap().tobytes(), np.float64(number).tobytes(), repr(float(number)))
        for spelling in spellings:
            assert (spelling.encode() if isinstance(spelling, str) else spelling) not in blob


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"payer_id": derived_id("thief")}, "seal_broken"),
        ({"model_sha256": "b" * 64}, "seal_broken"),
        ({"template_id": derived_id("other")}, "seal_broken"),
        ({"lookalike": None}, "seal_broken"),
        ({"lookalike": True}, "seal_broken"),
        ({"key_version": 2}, "unknown_key_version"),
        ({"data_key_id": None}, "no_data_key"),
        ({"data_key_id": derived_id("nobody's key")}, "unknown_data_key"),
        ({"sealed": "AAAA"}, "seal_broken"),
        ({"sealed": "A"}, "seal_broken"),
    ],
)
def test_a_template_is_bound_to_its_facts(place: Place, change: dict[str, object], reason: str) -> None:
    """Given to another payer, model, id or key, or stripped of its flag, it does not open."""
    assert place.refusal(replace(place.sealed(lookalike=False), **change)) == reason  # type: ignore[arg-type]


def test_a_template_is_bound_to_its_key_version_and_data_key(place: Place) -> None:
    """Version and data key that both exist are still not another template's."""
    event = place.sealed()
    other, _ = place.data_keys.create(derived_id("other"), 1)
    assert place.refusal(replace(event, data_key_id=other)) == "seal_broken"
    place.keyring.new_version("gallery")
    assert place.refusal(replace(event, key_version=2)) == "seal_broken"


def test_another_installation_cannot_open_it(place: Place, tmp_path: Path) -> None:
    """A template of another keyring is refused, even by one that holds the data key itself."""
    stranger = Place(tmp_path / "other")
    event = place.sealed()
    assert stranger.refusal(event) == "unknown_data_key"
    with pytest.raises(SealError, match="seal_broken"):
        open_template(stranger.keyring, place.data_keys, event, space=stranger.space)
    stranger.data_keys.close()


@pytest.mark.parametrize("vector", [np.zeros(8), np.ones(8), np.full(8, np.nan), np.ones((1, 1)), np.ones(0)])
def test_what_is_no_embedding_is_not_sealed(place: Place, vector: Vector) -> None:
    """A vector that is not finite and of length 1 is refused before it can reach a topic."""
    with pytest.raises(InvalidMessage, match="vector_invalid"):
        seal_template(
            place.keyring, place.data_keys, payer_id=PAYER, vector=vector.astype(np.float32), model_sha256=MODEL,
            now_us=7,
        )  # fmt: skip
    assert not place.data_keys.of_payer(PAYER)


def test_an_erased_payers_templates_are_noise(place: Place) -> None:
    """Once the payer's key is destroyed no copy of a template opens, none is sealed anew or re-sealed, and its
    neighbours open."""
    mine, other = place.sealed(), place.sealed(payer=derived_id("other"))
    assert place.data_keys.destroy(PAYER) == 1
    assert place.refusal(mine) == "data_key_destroyed"
    refused, opened = open_templates(place.keyring, place.data_keys, [mine, other], space=place.space)
    assert isinstance(refused, SealError)
    assert not isinstance(opened, InvalidMessage)
    with pytest.raises(DataKeyError, match="was erased"):
        place.sealed()
    again, kept = reseal(place.keyring, place.data_keys, [mine, other])
    assert isinstance(again, SealError)
    assert isinstance(kept, GalleryTemplate)


def test_templates_of_two_versions_meet_in_one_space(place: Place) -> None:
    """Whatever the version in force was when a template was sealed, it opens in the space asked for: that of a process
    that started earlier, or later; and in that process' space even when its own version's secret is gone."""
    old, first = place.sealed(seed=1), place.space
    place.keyring.new_version("gallery")
    new = place.sealed(seed=2)
    assert (old.key_version, new.key_version) == (1, 2)
    for space in (first, place.space):
        assert same(place.clear(old, space), an_embedding(1))
        assert same(place.clear(new, space), an_embedding(2))
    place.keyring.destroy_version("gallery", 1)
    assert same(place.clear(new, first), an_embedding(2))
    assert place.refusal(old) == "unknown_key_version"


def test_resealing_keeps_everything_but_the_keys(place: Place) -> None:
    """A template sealed anew has its id, facts, flag and embedding, under the version in force and a new data key; the
    old one dies with the old version's data key."""
    facts = TemplateFacts(phone_tag="a" * 32)
    old = place.sealed(facts=facts, lookalike=True)
    place.keyring.new_version("gallery")
    (new,) = reseal(place.keyring, place.data_keys, [old])
    assert isinstance(new, GalleryTemplate)
    assert new == replace(old, event_id=new.event_id, key_version=2, data_key_id=new.data_key_id, sealed=new.sealed)
    assert new.event_id != old.event_id
    assert place.data_keys.of_payer(PAYER) == (old.data_key_id, new.data_key_id)
    assert place.data_keys.retire_below(2) == 1
    assert place.refusal(old) == "data_key_destroyed"
    assert open_template(place.keyring, place.data_keys, new, space=place.space).facts == facts
    assert same(place.clear(new), an_embedding())


def test_a_flag_is_changed_by_sealing_anew(place: Place) -> None:
    """A lookalike found later is told in a record of its own, with the same id."""
    plain = place.sealed()
    flagged = with_lookalike(place.keyring, place.data_keys, plain)
    opened = open_template(place.keyring, place.data_keys, flagged, space=place.space)
    assert (flagged.template_id, flagged.lookalike, opened.lookalike) == (plain.template_id, True, True)
    assert flagged.event_id != plain.event_id
    place.data_keys.destroy(PAYER)
    with pytest.raises(SealError, match="data_key_destroyed"):
        with_lookalike(place.keyring, place.data_keys, plain)


def test_the_first_format_is_read_by_resealing_only(place: Place) -> None:
    """A template from before data keys, sealed in clear under the keyring alone, is never searched; sealed anew it is
    like every other."""
    vector, name = an_embedding(), template_id(PAYER, an_embedding())
    seal = AesGcmSeal(derive(place.keyring.secret("gallery.1"), "template"))
    sealed = seal.seal(vector.tobytes(), length_prefixed("facepay.template.v1", name, PAYER, MODEL, "1"))
    first = replace(place.sealed(), data_key_id=None, sealed=base64.b64encode(sealed).decode())
    assert place.refusal(first) == "no_data_key"
    (new,) = reseal(place.keyring, place.data_keys, [first])
    assert isinstance(new, GalleryTemplate)
    assert same(place.clear(new), vector)


def test_a_payload_of_another_format_is_refused(place: Place) -> None:
    """A payload that is no payload of ours, though its seal holds, is refused with a reason of its own."""
    event = place.sealed()
    from pipeline.gallery import templates as module

    keys = module._Keys(place.keyring, place.data_keys, [event])
    for plain in (b"", b"\x03" + length_prefixed("", "", an_embedding().tobytes()), b"\x02", b"\x02\0\0\0\x09"):
        sealed = keys.seal(event).seal(plain, module._associated(event))
        assert place.refusal(replace(event, sealed=base64.b64encode(sealed).decode())) == "payload_invalid"
