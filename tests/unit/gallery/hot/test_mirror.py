"""The mirror and what Redis holds for it: a small matrix that follows any order of changes, entries that open nowhere
else."""

from __future__ import annotations

from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from pipeline.errors import InvalidMessage, SettingsError
from pipeline.gallery.hot.layout import Entry, EntrySeal, Space
from pipeline.gallery.hot.mirror import Mirror
from pipeline.keys.derivation import length_prefixed
from pipeline.keys.keyring import Keyring
from pipeline.ports import Vector

DIMENSION = 16
SPACE = Space("north-1", "ab" * 32, 1)


def looks(number: int, count: int = 2) -> Vector:
    """Templates of length 1, float32 (count, d)."""
    drawn = np.random.default_rng(number).normal(size=(count, DIMENSION))
    return np.asarray(drawn / np.linalg.norm(drawn, axis=1, keepdims=True), np.float32)


def entry(payer: int, version: int = 0) -> Entry:
    """A payer with one to three templates, others in each version."""
    count = 1 + (payer + version) % 3
    names = tuple(f"t{payer}.{version}.{number}" for number in range(count - 1))
    return Entry(f"p{payer}", (f"t{payer}", *names), looks(100 * payer, count))


@given(st.lists(st.tuples(st.sampled_from(["put", "drop", "keep"]), st.integers(0, 5), st.integers(0, 2)), max_size=40))
def test_the_matrix_follows_any_order_of_changes(steps: list[tuple[str, int, int]]) -> None:
    """What is found is what a plain dictionary of the same changes gives; those who listen hear of every change."""
    known: dict[str, str] = {}

    def put(new: Entry) -> None:
        known.update(dict.fromkeys(new.template_ids, new.payer_id))

    def drop(template_ids: object) -> None:
        assert isinstance(template_ids, list | tuple)
        for template_id in template_ids:
            del known[template_id]

    mirror, there = Mirror(DIMENSION, on_put=put, on_drop=drop), dict[str, Entry]()
    for step, payer, version in steps:
        if step == "put":
            there[f"tag{payer}"] = entry(payer, version)
            mirror.put(f"tag{payer}", entry(payer, version))
        elif step == "drop":
            assert mirror.drop(f"tag{payer}") == (there.pop(f"tag{payer}", None) is not None)
        else:
            there = {tag: kept for tag, kept in there.items() if tag != f"tag{payer}"}
            mirror.keep_only(there.keys())
    assert known == {name: kept.payer_id for kept in there.values() for name in kept.template_ids}
    assert mirror.payers == len(there)
    assert mirror.size == len(known)
    for kept in there.values():
        assert set(mirror.template_ids(kept.payer_id)) == set(kept.template_ids)
        found = mirror.search(kept.vectors[:1])[0]
        others = [vector for other in there.values() if other.payer_id != kept.payer_id for vector in other.vectors]
        best = max((float(vector @ kept.vectors[0]) for vector in others), default=-1.0)
        assert found is not None
        assert (found.payer_id, found.template_id) == (kept.payer_id, kept.template_ids[0])
        assert found.runner_up == pytest.approx(best, abs=1e-6)
    if not there:
        assert mirror.search(looks(0)) == [None, None]


@pytest.mark.parametrize("fault", ["long", "nan", "short of one", "another's"])
def test_an_entry_that_cannot_be_a_payer_is_refused_and_changes_nothing(fault: str) -> None:
    """Vectors of another length, or a template that is another payer's."""
    mirror = Mirror(DIMENSION)
    mirror.put("tag1", entry(1))
    bad = {
        "long": Entry("p2", ("t2", "t3"), 2 * looks(2)),
        "nan": Entry("p2", ("t2", "t3"), looks(2) * np.float32(np.nan)),
        "short of one": Entry("p2", ("t2", "t3"), looks(2)[:1]),
        "another's": Entry("p2", ("t2", "t1"), looks(2)),
    }[fault]
    with pytest.raises(ValueError, match="hot template"):
        mirror.put("tag2", bad)
    assert mirror.hot() == [("tag1", "p1")]
    assert mirror.size == len(entry(1).template_ids)


def test_what_is_dropped_is_overwritten() -> None:
    """No vector stays in the matrix of a payer who is gone."""
    mirror = Mirror(DIMENSION)
    for payer in range(4):
        mirror.put(f"tag{payer}", entry(payer))
    for payer in range(4):
        assert mirror.drop_payer(f"p{payer}")
    assert not mirror.drop_payer("p0")
    assert not mirror._matrix.any()


def test_an_entry_opens_under_its_tag_space_and_key_alone(tmp_path: Path) -> None:
    """Another tag, region, model or version: `seal_broken`; rightly sealed nonsense: `entry_malformed`."""
    keyring = Keyring.create(tmp_path / "keys")
    keyring.new_version("gallery")
    seal = EntrySeal(keyring, SPACE)
    tag, sealed = seal.tag("p1"), seal.seal(entry(1))
    again = seal.open(tag, sealed, DIMENSION)
    assert (again.payer_id, again.template_ids) == ("p1", entry(1).template_ids)
    assert (again.vectors == entry(1).vectors).all()
    assert b"p1" not in sealed
    spaces = [
        Space("south-1", SPACE.model, 1),
        Space(SPACE.region, "cd" * 32, 1),
        Space(SPACE.region, SPACE.model, 2),
        Space(SPACE.region, SPACE.model[:16] + "0" * 48, 1),
    ]
    for other in spaces:
        with pytest.raises(InvalidMessage, match="seal_broken"):
            EntrySeal(keyring, other).open(tag, sealed, DIMENSION)
    assert len({EntrySeal(keyring, other).tag("p1") for other in spaces[:3]} | {tag}) == 4
    with pytest.raises(InvalidMessage, match="seal_broken"):
        seal.open(seal.tag("p2"), sealed, DIMENSION)
    # The tag is bound by the seal itself, before anything of what is inside is believed.
    with pytest.raises(InvalidMessage, match="seal_broken"):
        seal._seal.open(sealed, seal._associated(seal.tag("p2")))
    with pytest.raises(InvalidMessage, match="entry_malformed"):
        seal.open(tag, sealed, DIMENSION + 1)
    for plain in (b"", b"\0\0\0\2{", length_prefixed(b"{}", b""), length_prefixed(b"x"), length_prefixed(*[b""] * 3)):
        with pytest.raises(InvalidMessage, match="entry_malformed"):
            seal.open(tag, seal._seal.seal(plain, seal._associated(tag)), DIMENSION)
    with pytest.raises(SettingsError):
        EntrySeal(keyring, Space(SPACE.region, SPACE.model, 9))


@pytest.mark.parametrize(
    ("key", "space"),
    [
        (SPACE.keys[0], Space(SPACE.region, SPACE.model[:16], 1)),
        ("facepay:hot:{north-1:abc:12}:log", Space("north-1", "abc", 12)),
        ("facepay:hot:{north-1:abc:x}:log", None),
        ("facepay:hot:{north-1:abc}:log", None),
        ("facepay:fraud:{a:b:1}:history", None),
        ("facepay:hot:", None),
    ],
)
def test_the_space_of_a_key(key: str, space: Space | None) -> None:
    """Other keys of the same Redis belong to none."""
    assert Space.of_key(key) == space
