"""The embedding agent: what it emits, refuses, drops and forgets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from prometheus_client import REGISTRY

from pipeline.gallery.index import ExactIndex
from pipeline.ports import Emit, HandlerResult, Reject
from pipeline.settings import Vision
from schemas.codec import decode
from schemas.events import Hint, Recognition
from schemas.ids import derived_id
from tests.unit.vision.agent_world import (
    ANN,
    ANN_FACE,
    ANN_UNSURE,
    BOB_FACE,
    DIMENSION,
    SECOND,
    STRANGER,
    TERMS,
    TRACE,
    Counting,
    Scripted,
    Unread,
    World,
    face,
    make_world,
    told,
    unit,
)


@pytest.fixture
def scripted() -> Scripted:
    return Scripted()


@pytest.fixture
def world(tmp_path: Path, scripted: Scripted) -> World:
    return make_world(tmp_path, scripted)


def rejected(reason: str) -> float:
    """The counter of dropped frames and abstentions."""
    return REGISTRY.get_sample_value("facepay_rejects_total", {"agent": "embedding", "reason": reason}) or 0.0


def only(result: HandlerResult) -> Emit:
    """The one record of a result."""
    assert not isinstance(result, Reject)
    assert len(result) == 1
    return result[0]


def test_a_recognition_is_emitted_once_keyed_by_payer(world: World, scripted: Scripted) -> None:
    """Two frames decide; what follows is silence, and costs no compute."""
    jpeg = scripted.picture([ANN_UNSURE])
    world.handler._votes.policy = replace(world.handler._votes.policy, strong_threshold=0.9)
    results = world.handler.process([world.frame(jpeg) for _ in range(2)])
    assert told(results) == ["-", "=ann"]
    emit = only(results[1])
    event = decode(emit.value, Recognition)
    assert (emit.topic, emit.key, emit.partition) == ("recognitions", ANN.encode(), None)
    assert emit.headers == (("traceparent", TRACE.encode()),)
    assert event.event_id == derived_id(TERMS.intent_id, "recognition", ANN)
    assert (event.terms, event.intent_id, event.terminal_id) == (TERMS, TERMS.intent_id, "t-1")
    assert (event.frames_used, event.frames_seen, event.gallery_size) == (2, 2, 2)
    assert event.similarity == pytest.approx(0.545, abs=0.01)
    assert (event.threshold, event.liveness, event.eyes_open) == (0.475, None, None)
    assert event.model_sha256 == "a" * 64
    runs = len(scripted.batches)
    assert told(world.handler.process([world.frame(jpeg)])) == ["-"]
    assert len(scripted.batches) == runs


def test_hints_go_to_the_terminal_when_they_change(world: World, scripted: Scripted) -> None:
    """Nobody, too far, two people; each said once; ids differ by the frame that caused them."""
    empty, small = scripted.picture([]), scripted.picture([face(1, 0, 0, 0, width=30)])
    two = scripted.picture([ANN_FACE, BOB_FACE])
    results = world.handler.process([world.frame(j) for j in (empty, empty, small, two, two, empty)])
    assert told(results) == ["look_here", "-", "come_closer", "one_person_please", "-", "look_here"]
    first, last = only(results[0]), only(results[5])
    assert (first.topic, first.key) == ("hints", b"t-1")
    assert decode(first.value, Hint).event_id != decode(last.value, Hint).event_id


def test_a_stranger_is_not_recognised_and_that_is_final(world: World, scripted: Scripted) -> None:
    """Six frames of somebody who is not enrolled."""
    jpeg = scripted.picture([STRANGER])
    results = world.handler.process([world.frame(jpeg) for _ in range(8)])
    assert told(results) == ["hold_still", "-", "-", "-", "-", "not_recognised!", "-", "-"]


def test_two_people_never_decide_and_are_never_searched(tmp_path: Path, scripted: Scripted) -> None:
    """However well one is known: who they are is none of this terminal's business."""
    gallery = Counting(DIMENSION)
    gallery.put(derived_id("template", "ann"), ANN, unit(1, 0, 0, 0.9))
    world = make_world(tmp_path, scripted, gallery)
    two, one = scripted.picture([ANN_FACE, BOB_FACE]), scripted.picture([ANN_FACE])
    assert "=ann" not in told(world.handler.process([world.frame(two) for _ in range(12)]))
    assert gallery.probes == 0
    assert told(world.handler.process([world.frame(one)])) == ["=ann"]
    assert gallery.probes == 1


def test_another_person_between_two_frames_resets_the_vote(world: World, scripted: Scripted) -> None:
    """One vote for Ann, one for Bob, one for Ann: nobody has two in a row."""
    world.handler._votes.policy = replace(world.handler._votes.policy, strong_threshold=0.99999)
    ann, bob = scripted.picture([face(1, 0, 0.5, 0)]), scripted.picture([face(0, 1, 0.5, 0)])
    results = world.handler.process([world.frame(j) for j in (ann, bob, ann, ann)])
    assert told(results) == ["-", "-", "-", "=ann"]


def test_a_broken_embedding_matches_nobody_and_still_counts_as_a_person(world: World, scripted: Scripted) -> None:
    """The zero vector of a faulty device: no recognition alone, no recognition of the one beside it."""
    broken = scripted.picture([face(0, 0, 0, 0)])
    beside = scripted.picture([ANN_FACE, face(0, 0, 0, 0)])
    words = told(world.handler.process([world.frame(j) for j in (broken, beside, broken, beside)]))
    assert not any(word.startswith("=") for word in words)


def test_bad_frames_are_rejected_and_their_neighbours_go_on(world: World, scripted: Scripted) -> None:
    """Not a JPEG, cut off, too many pixels, a foreign key, changed bytes: each with its reason, in its place."""
    good = scripted.picture([ANN_FACE])
    large: bytes = simplejpeg.encode_jpeg(np.zeros((2000, 5000, 3), np.uint8), colorspace="BGR")
    sealed = world.frame(good)
    assert sealed.value is not None
    broken = replace(sealed, value=sealed.value[:-1] + bytes([sealed.value[-1] ^ 1]))
    foreign = replace(world.frame(good), key=b"t-2")
    unknown = world.frame(good, replace(TERMS, terminal_id="t-9"))
    messages = [
        world.frame(b"not a picture"),
        world.frame(good[:-20]),
        world.frame(large),
        broken,
        foreign,
        unknown,
        replace(sealed, value=None),
        world.frame(good),
    ]
    assert told(world.handler.process(messages)) == [
        "xnot_jpeg",
        "xjpeg_truncated",
        "ximage_too_large",
        "xseal_broken",
        "xwrong_terminal",
        "xunknown_terminal",
        "xheader_invalid",
        "=ann",
    ]


def test_late_frames_are_dropped_and_counted_not_dead(world: World, scripted: Scripted) -> None:
    """Too old, and of an intent that has ended: no dead letter, no compute, a count."""
    jpeg = scripted.picture([ANN_FACE])
    old = world.frame(jpeg)
    stale, expired = rejected("stale"), rejected("expired")
    world.now_us += 11 * SECOND
    late = world.frame(jpeg)
    world.now_us += 5 * SECOND
    assert told(world.handler.process([old, late])) == ["-", "-"]
    assert (rejected("stale") - stale, rejected("expired") - expired) == (1, 1)
    assert scripted.batches == []


def test_a_replayed_frame_is_refused_and_a_redelivered_one_is_not_voted_on_twice(
    world: World, scripted: Scripted
) -> None:
    """The same bytes elsewhere are an attack; at the same place they are Kafka, and still one vote."""
    world.handler._votes.policy = replace(world.handler._votes.policy, strong_threshold=0.99999)
    frame = world.frame(scripted.picture([ANN_FACE]))
    assert told(world.handler.process([frame])) == ["-"]
    assert told(world.handler.process([replace(frame, offset=frame.offset + 100)])) == ["xreplayed"]
    assert told(world.handler.process([frame])) == ["-"]
    assert world.handler._votes.memories[TERMS].vote.frames_seen == 1


def test_nonces_restored_from_before_a_restart_refuse_a_replay(world: World, scripted: Scripted) -> None:
    """What another instance saw is known before the first frame is judged."""
    frame = world.frame(scripted.picture([ANN_FACE]))
    world.handler.restore(3, [frame])
    assert told(world.handler.process([replace(frame, offset=frame.offset + 1)])) == ["xreplayed"]


def test_a_partition_taken_away_takes_its_votes_along(world: World, scripted: Scripted) -> None:
    """And no other lane's."""
    jpeg = scripted.picture([ANN_UNSURE])
    world.handler._votes.policy = replace(world.handler._votes.policy, strong_threshold=0.9)
    other = replace(TERMS, terminal_id="t-2", intent_id=derived_id("intent", "2"))
    world.handler.process([world.frame(jpeg), world.frame(jpeg, other, partition=4)])
    world.handler.forget(3)
    assert world.opener.remembered == 1
    results = world.handler.process([world.frame(jpeg), world.frame(jpeg, other, partition=4)])
    assert told(results) == ["-", "=ann"]


def test_intents_that_have_ended_are_forgotten(world: World, scripted: Scripted) -> None:
    """Memory holds open intents only."""
    world.handler.process([world.frame(scripted.picture([ANN_UNSURE]))])
    assert len(world.handler._votes.memories) == 1
    world.now_us = TERMS.expires_at_us + 1
    world.handler.process([])
    assert world.handler._votes.memories == {}


def test_frames_sealed_for_other_terms_do_not_add_to_one_vote(world: World, scripted: Scripted) -> None:
    """One intent id, two amounts: two votes."""
    world.handler._votes.policy = replace(world.handler._votes.policy, strong_threshold=0.9)
    jpeg = scripted.picture([ANN_UNSURE])
    dearer = replace(TERMS, amount_minor=999_00)
    assert told(world.handler.process([world.frame(jpeg), world.frame(jpeg, dearer)])) == ["-", "-"]


def test_nothing_is_judged_before_the_gallery_was_read(tmp_path: Path, scripted: Scripted) -> None:
    """Half a gallery would call an enrolled payer a stranger."""
    world = make_world(tmp_path, scripted, Unread(DIMENSION))
    before = rejected("gallery_not_ready")
    assert told(world.handler.process([world.frame(scripted.picture([ANN_FACE]))])) == ["-"]
    assert rejected("gallery_not_ready") - before == 1


def test_an_empty_gallery_recognises_nobody(tmp_path: Path, scripted: Scripted) -> None:
    """No template, no match, no error."""
    world = make_world(tmp_path, scripted, ExactIndex(DIMENSION))
    assert told(world.handler.process([world.frame(scripted.picture([ANN_FACE]))])) == ["hold_still"]


def test_frames_of_one_poll_share_runs_within_the_largest_batch(tmp_path: Path, scripted: Scripted) -> None:
    """Frames of several lanes go through the engine together, bounded, and an intent decided early costs no more."""
    world = make_world(tmp_path, scripted, settings=Vision(max_batch=4, repeated_frames="off"))
    jpeg = scripted.picture([ANN_FACE])
    other = replace(TERMS, terminal_id="t-2", intent_id=derived_id("intent", "2"))
    messages = [world.frame(jpeg, terms) for _ in range(5) for terms in (TERMS, other)]
    assert told(world.handler.process(messages)) == ["=ann", "=ann"] + ["-"] * 8
    assert scripted.batches == [4]


def test_what_was_prepared_ahead_is_judged_by_what_is_known_then(world: World, scripted: Scripted) -> None:
    """Two batches prepared before the first is judged: the decision of the first silences the second, an intent that
    has ended meanwhile is counted, and each nonce was noted in its order.
    """
    jpeg = scripted.picture([ANN_FACE])
    first, second = [world.frame(jpeg)], [world.frame(jpeg)]
    ahead = [world.handler.prepare(first), world.handler.prepare(second)]
    again = world.handler.prepare([replace(first[0], offset=77)])
    assert told(world.handler.process_prepared(first, ahead[0])) == ["=ann"]
    runs, expired = len(scripted.batches), rejected("expired")
    assert told(world.handler.process_prepared(second, ahead[1])) == ["-"]
    assert len(scripted.batches) == runs
    assert told(world.handler.process_prepared(first, again)) == ["xreplayed"]
    other = [world.frame(jpeg, replace(TERMS, amount_minor=5))]
    late = world.handler.prepare(other)
    world.now_us = TERMS.expires_at_us + 1
    assert told(world.handler.process_prepared(other, late)) == ["-"]
    assert rejected("expired") - expired == 1


def test_what_is_emitted_holds_no_embedding(world: World, scripted: Scripted) -> None:
    """No list of numbers leaves; memory does not print one either."""
    emit = only(world.handler.process([world.frame(scripted.picture([ANN_FACE]))])[0])
    assert b"[" not in (emit.value or b"")
    assert "array" not in repr(world.handler._votes.memories)
