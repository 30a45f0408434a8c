"""The directory of claims: candidates are who has a living template with the tag, whatever came and went before."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import InvalidMessage
from pipeline.gallery.claims import ClaimDirectory
from pipeline.keys.claims import Claim, ClaimedBy


@dataclass(frozen=True)
class Facts:
    """Tags of one template."""

    phone_tag: str | None = None
    last_four_tag: str | None = None


@dataclass(frozen=True)
class Opened:
    """A template as a reader hands it on."""

    template_id: str
    payer_id: str
    facts: Facts


def tag(number: int) -> str:
    return f"{number:032x}"


def among(directory: ClaimDirectory, kind: ClaimedBy, number: int) -> frozenset[str]:
    return directory.among(Claim(kind, tag(number)))


def test_candidates_of_each_kind() -> None:
    """A number finds its payer, four digits everybody whose number ends so, and a tag of one kind nobody by the
    other."""
    directory = ClaimDirectory()
    directory.put(Opened("t1", "ann", Facts(tag(1), tag(9))))
    directory.put(Opened("t2", "ben", Facts(tag(2), tag(9))))
    directory.put(Opened("t3", "cat", Facts()))
    assert among(directory, "full_number", 1) == {"ann"}
    assert among(directory, "last_four", 9) == {"ann", "ben"}
    assert among(directory, "full_number", 9) == among(directory, "last_four", 1) == frozenset()
    assert len(directory) == 2


Template = tuple[str, int | None, int | None]
MOVES = st.lists(
    st.tuples(
        st.sampled_from(["t1", "t2", "t3", "t4"]),
        st.one_of(
            st.none(),
            st.tuples(st.sampled_from(["ann", "ben"]), st.none() | st.integers(1, 3), st.none() | st.integers(1, 3)),
        ),
    ),
    max_size=25,
)


@given(moves=MOVES)
def test_candidates_are_who_has_a_living_template(moves: list[tuple[str, Template | None]]) -> None:
    """After any puts, replacements and removals, also twice and of what never was, and after a dump and a load, the
    candidates are those of the templates that live."""
    directory = ClaimDirectory()
    living: dict[str, Template] = {}
    for template_id, template in moves:
        if template is None:
            directory.removed(template_id, "whoever")
            living.pop(template_id, None)
        else:
            payer_id, number, four = template
            facts = Facts(None if number is None else tag(number), None if four is None else tag(four))
            directory.put(Opened(template_id, payer_id, facts))
            living[template_id] = template
    loaded = ClaimDirectory()
    loaded.put(Opened("t9", "somebody else", Facts(tag(1), tag(1))))
    loaded.load(directory.dump())
    for held in (directory, loaded):
        for number in range(1, 4):
            assert among(held, "full_number", number) == {p for p, n, _ in living.values() if n == number}
            assert among(held, "last_four", number) == {p for p, _, f in living.values() if f == number}
        assert len(held) == sum(n is not None or f is not None for _, n, f in living.values())
    for template_id in [*living]:
        loaded.removed(template_id, "whoever")
    assert not any(among(loaded, kind, number) for kind in ("full_number", "last_four") for number in range(1, 4))


@pytest.mark.parametrize("data", [b"", b"junk", b"\x94\x91\xa2t1\x90\x90\x90"])
def test_a_damaged_dump_changes_nothing(data: bytes) -> None:
    """It is refused whole."""
    directory = ClaimDirectory()
    directory.put(Opened("t1", "ann", Facts(tag(1))))
    with pytest.raises(InvalidMessage, match="snapshot_invalid"):
        directory.load(data)
    assert among(directory, "full_number", 1) == {"ann"}


def test_readers_and_the_writer_at_once() -> None:
    """While templates come and go, a claim finds one of the states, never an error or a stranger."""
    directory, wrong, over = ClaimDirectory(), [], threading.Event()

    def look() -> None:
        while not over.is_set():
            found = among(directory, "last_four", 7)
            if not found <= {"ann", "ben"}:
                wrong.append(found)

    readers = [threading.Thread(target=look) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        for _ in range(500):
            directory.put(Opened("t1", "ann", Facts(tag(1), tag(7))))
            directory.put(Opened("t2", "ben", Facts(tag(2), tag(7))))
            directory.removed("t1", "ann")
            directory.removed("t2", "ben")
    finally:
        over.set()
        for reader in readers:
            reader.join()
    assert not wrong
    assert len(directory) == 0
