"""The embedding agent and claims: among whom it looks, what it tells, and that digits prove nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from pipeline.domain.fmr import FmrModel, FmrPoint
from pipeline.gallery.index import ExactIndex
from pipeline.keys.claims import ClaimedBy, last_four_tag, phone_tag, seal_claim
from pipeline.ports import Reject
from schemas.codec import decode
from schemas.events import PaymentTerms, Recognition
from schemas.ids import derived_id
from tests.unit.vision.agent_world import (
    ANN,
    ANN_FACE,
    ANN_UNSURE,
    BOB,
    BOB_FACE,
    DIMENSION,
    STRANGER,
    TERMS,
    Scripted,
    World,
    make_world,
    told,
    unit,
)

TWIN = derived_id("payer", "twin of ann")
NUMBERS = {ANN: "+4917100004567", BOB: "+4917100014567", TWIN: "+4917100029999"}
"""Ann's and Bob's end in the same four digits."""
NEXT = replace(TERMS, intent_id=derived_id("intent", "next"))


@dataclass(frozen=True)
class Facts:
    """What a template says of its payer's telephone."""

    phone_tag: str | None
    last_four_tag: str | None


@dataclass(frozen=True)
class Opened:
    """A template as the gallery's reader tells of it."""

    template_id: str
    payer_id: str
    facts: Facts


@dataclass
class Shop:
    """A world in which Ann, Bob and, unless it is said otherwise, Ann's twin are enrolled with their numbers."""

    world: World
    scripted: Scripted

    def claim(self, kind: ClaimedBy, number: str, terms: PaymentTerms = TERMS) -> str:
        """A sealed claim."""
        tag = (phone_tag if kind == "full_number" else last_four_tag)(self.world.keyring, number)
        where = {"terminal_id": terms.terminal_id, "intent_id": terms.intent_id}
        return seal_claim(self.world.keyring, kind, tag, **where)

    def looked_at(
        self, *jpegs: bytes, claims: Sequence[str | None] = (None,), terms: PaymentTerms = TERMS
    ) -> tuple[list[str], Recognition | None]:
        """What is told of these pictures, each with the claim at its place or the last one, and the recognition."""
        each = [*claims, *[claims[-1]] * (len(jpegs) - len(claims))]
        frames = [self.world.frame(jpeg, terms, claim=claim) for jpeg, claim in zip(jpegs, each, strict=True)]
        results = self.world.handler.process(frames)
        emitted = [r[0] for r in results if not isinstance(r, Reject) and r]
        found = [decode(emit.value, Recognition) for emit in emitted if emit.topic == "recognitions"]
        return told(results), found[0] if found else None


def enrolled(tmp_path: Path, *payers: str) -> Shop:
    faces = {ANN: unit(1, 0, 0, 0.9), BOB: unit(0, 1, 0, 0.9), TWIN: unit(1, 0, 0.05, 0.9)}
    scripted, gallery = Scripted(), ExactIndex(DIMENSION)
    for payer in payers:
        gallery.put(derived_id("template", payer), payer, faces[payer], lookalike=payer == TWIN)
    world = make_world(tmp_path, scripted, gallery)
    for payer in payers:
        number = NUMBERS[payer]
        facts = Facts(phone_tag(world.keyring, number), last_four_tag(world.keyring, number))
        world.directory.put(Opened(derived_id("template", payer), payer, facts))
    return Shop(world, scripted)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return enrolled(tmp_path, ANN, BOB, TWIN)


def test_a_claim_tells_lookalikes_apart(shop: Shop) -> None:
    """Ann's twin is as like her as she herself: without a claim nobody is charged. Among those whom Ann's number or
    its digits leave she is clear, and the recognition says how many those were and that it was no search of all."""
    ann = shop.scripted.picture([ANN_FACE])
    words, none = shop.looked_at(*[ann] * 6)
    assert (words[-1], none) == ("use_pin!", None)
    for kind, left in (("full_number", 1), ("last_four", 2)):
        terms = replace(TERMS, intent_id=derived_id("intent", kind))
        claim = shop.claim(kind, NUMBERS[ANN], terms)  # type: ignore[arg-type]  # the two kinds
        words, event = shop.looked_at(ann, claims=[claim], terms=terms)
        assert words == ["=ann"]
        assert event is not None
        told_of = (event.claim, event.candidates, event.gallery_size, event.searched, event.lookalike)
        assert told_of == (kind, left, 3, "exact", False)


def test_without_a_claim_everybody_is_a_candidate(tmp_path: Path) -> None:
    """And the recognition says so, and whether the payer has a lookalike."""
    shop = enrolled(tmp_path, BOB, TWIN)
    _, event = shop.looked_at(shop.scripted.picture([BOB_FACE]))
    assert event is not None
    assert (event.payer_id, event.claim, event.candidates, event.lookalike) == (BOB, "none", 2, False)
    _, event = shop.looked_at(shop.scripted.picture([ANN_FACE]), terms=NEXT)
    assert event is not None
    assert (event.payer_id, event.lookalike) == (TWIN, True)


@pytest.mark.parametrize("kind", ["full_number", "last_four"])
def test_digits_prove_nothing_and_tell_nothing(shop: Shop, kind: ClaimedBy) -> None:
    """A face that is not the claimed payer's is not recognised, in the same words whether the number is somebody
    else's or nobody's; nor is a stranger with a payer's number."""
    ann, stranger = shop.scripted.picture([ANN_FACE]), shop.scripted.picture([STRANGER])
    bobs, nobodys = "+4917100018888", "+4917100010000"
    shop.world.directory.put(
        Opened("t", BOB, Facts(phone_tag(shop.world.keyring, bobs), last_four_tag(shop.world.keyring, bobs)))
    )
    answers = set()
    for number, jpeg in ((bobs, ann), (nobodys, ann), (NUMBERS[ANN], stranger), (nobodys, stranger)):
        terms = replace(TERMS, intent_id=derived_id("intent", kind, number, str(jpeg == ann)))
        words, event = shop.looked_at(*[jpeg] * 6, claims=[shop.claim(kind, number, terms)], terms=terms)
        assert event is None
        answers.add(tuple(words))
    assert answers == {("hold_still", "-", "-", "-", "-", "not_recognised!")}


def test_two_people_are_two_people_whatever_is_claimed(shop: Shop) -> None:
    """A claim does not say which of two faces it is about."""
    two = shop.scripted.picture([ANN_FACE, BOB_FACE])
    words, event = shop.looked_at(*[two] * 3, claims=[shop.claim("full_number", NUMBERS[BOB])])
    assert (words, event) == (["one_person_please", "-", "-"], None)


def test_a_claim_that_was_not_made_for_the_intent_is_refused(shop: Shop) -> None:
    """The frame goes to the dead letter, its neighbours go on."""
    bob, terms = shop.scripted.picture([BOB_FACE]), NEXT
    wrong = [shop.claim("full_number", NUMBERS[BOB]), "QUFB", None]
    words, _ = shop.looked_at(bob, bob, bob, claims=wrong, terms=terms)
    assert words == ["xclaim_broken", "xclaim_broken", "=bob"]


def test_ballots_before_a_claim_are_not_counted_after_it(shop: Shop) -> None:
    """One frame's vote among everybody and one among the claimed are not two; attempts that failed have failed."""
    votes = shop.world.handler._votes
    votes.policy = replace(votes.policy, strong_threshold=0.9, margin=0.001)
    unsure, stranger = shop.scripted.picture([ANN_UNSURE]), shop.scripted.picture([STRANGER])
    claim = shop.claim("full_number", NUMBERS[ANN])
    shop.world.directory.removed(derived_id("template", TWIN), TWIN)
    shop.world.gallery.remove(derived_id("template", TWIN))
    assert shop.looked_at(unsure, unsure, unsure, claims=[None, claim])[0] == ["-", "-", "=ann"]
    other = shop.claim("full_number", NUMBERS[ANN], NEXT)
    words, _ = shop.looked_at(*[stranger] * 6, stranger, claims=[*[None] * 6, other], terms=NEXT)
    assert words[5:] == ["not_recognised!", "-"]
    assert votes.memories[NEXT].vote.failed_attempts == 1


def test_a_camera_that_knows_no_claims_looks_under_the_intent_s(shop: Shop) -> None:
    """Beside a camera that tells the claim, one that leaves it out adds to the same vote: within a batch, and after."""
    votes = shop.world.handler._votes
    votes.policy = replace(votes.policy, strong_threshold=0.99)
    unsure = shop.scripted.picture([ANN_UNSURE])
    assert shop.looked_at(unsure, unsure, claims=[shop.claim("full_number", NUMBERS[ANN]), None])[0] == ["-", "=ann"]
    claim = shop.claim("full_number", NUMBERS[ANN], NEXT)
    assert shop.looked_at(unsure, claims=[claim], terms=NEXT)[0] == ["-"]
    assert shop.looked_at(unsure, terms=NEXT)[0] == ["=ann"]


MODEL = FmrModel(
    data="invented people",
    people=1001,
    comparisons=1_001_000,
    pairs=500_500,
    points=(
        FmrPoint(threshold=0.3, fmr=1e-2, low=8e-3, high=1.2e-2),
        FmrPoint(threshold=0.5, fmr=1e-5, low=0.0, high=4e-5),
    ),
    per_decade=0.05,
)


def test_a_gallery_that_is_too_large_asks_for_a_claim(shop: Shop) -> None:
    """Where the data support one template, three ask for digits, two who share them for the number, and with that one
    the payer is recognised, at the threshold that was in force."""
    votes = shop.world.handler._votes
    votes.policy = replace(votes.policy, fmr=MODEL, max_fpir=1.5 * 30 * MODEL.least)
    assert votes.policy.most_templates == 1
    ann = shop.scripted.picture([ANN_FACE])
    assert shop.looked_at(ann, ann)[0] == ["enter_last_four!", "-"]
    digits = shop.claim("last_four", "4567", NEXT)
    assert shop.looked_at(ann, ann, claims=[digits], terms=NEXT)[0] == ["enter_number!", "-"]
    last = replace(TERMS, intent_id=derived_id("intent", "last"))
    words, event = shop.looked_at(ann, claims=[shop.claim("full_number", NUMBERS[ANN], last)], terms=last)
    assert words == ["=ann"]
    assert event is not None
    assert event.threshold == pytest.approx(votes.policy.threshold_among(1))
    assert event.threshold > votes.policy.match_threshold


class Told:
    """A hot tier that has nobody and notes who was offered to it."""

    def __init__(self) -> None:
        self.offered: list[str] = []

    def search(self, probes: object) -> list[None]:
        return [None] * len(probes)  # type: ignore[arg-type]

    def offer(self, payer_id: str) -> None:
        self.offered.append(payer_id)


def test_who_was_recognised_is_offered_to_the_hot_tier_once(shop: Shop) -> None:
    """After the decision, and for nothing less than one."""
    hot = Told()
    shop.world.handler._gallery._hot = hot  # type: ignore[attr-defined]
    bob, stranger = shop.scripted.picture([BOB_FACE]), shop.scripted.picture([STRANGER])
    shop.looked_at(*[stranger] * 6, terms=NEXT)
    assert hot.offered == []
    shop.looked_at(bob, bob, bob)
    assert hot.offered == [BOB]
