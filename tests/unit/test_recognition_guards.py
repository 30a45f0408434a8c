"""The guards at the face, as the agent applies them: liveness, eyes, zones, quality, pictures shown before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from pipeline.errors import ModelError
from pipeline.keys.devices import Camera, Modality
from pipeline.ports import Emit, HandlerResult, Reject
from pipeline.settings import Vision
from schemas.codec import decode
from schemas.events import Recognition
from schemas.ids import derived_id
from tests.unit.vision.agent_world import (
    ANN,
    ANN_FACE,
    DIMENSION,
    GOOD,
    TERMS,
    Counting,
    Scripted,
    face,
    make_world,
    told,
    unit,
)


@pytest.fixture
def scripted() -> Scripted:
    return Scripted()


def rejected(reason: str) -> float:
    """The counter of dropped frames and abstentions."""
    return REGISTRY.get_sample_value("facepay_rejects_total", {"agent": "embedding", "reason": reason}) or 0.0


def only(result: HandlerResult) -> Emit:
    """The one record of a result."""
    assert not isinstance(result, Reject)
    assert len(result) == 1
    return result[0]


@pytest.mark.parametrize(
    ("pad", "live", "expected", "reported"),
    [
        ("off", None, "=ann", None),
        ("report_only", {"fused": 0.1}, "=ann", 0.1),
        ("report_only", {"fused": 0.99}, "=ann", 0.99),
        ("report_only", {"minifasnet_v2": 0.99}, "=ann", None),
        ("required", {"fused": 0.99}, "=ann", 0.99),
        ("required", {"fused": 0.84}, "-", None),
        ("required", {"fused": 0.49}, "hold_still", None),
        ("required", {"minifasnet_v2": 0.99}, "hold_still", None),
        ("required", None, "hold_still", None),
    ],
)
def test_liveness_decides_only_where_it_is_required(
    tmp_path: Path,
    scripted: Scripted,
    pad: str,
    live: Mapping[str, float] | None,
    expected: str,
    reported: float | None,
) -> None:
    """Required: below the threshold no recognition, below the floor or without a fused score no vote."""
    settings = Vision.model_validate({"pad": pad, "repeated_frames": "off"})
    world = make_world(tmp_path, scripted, settings=settings)
    results = world.handler.process([world.frame(scripted.picture([face(1, 0, 0.05, 0.9, live=live)]))])
    assert told(results) == [expected]
    if expected == "=ann":
        event = decode(only(results[0]).value, Recognition)
        assert event.liveness == pytest.approx(reported)
        assert event.liveness_proven is False


@pytest.mark.parametrize(
    ("pad", "proven", "modality", "expected"),
    [
        ("required", True, "rgb", True),
        ("required", False, "rgb", False),
        ("required", True, "ir", False),
        ("required", True, "depth", False),
        ("report_only", True, "rgb", False),
    ],
)
def test_liveness_is_proven_only_by_a_required_proven_fusion_on_a_tested_modality(
    tmp_path: Path, scripted: Scripted, pad: str, proven: bool, modality: Modality, expected: bool
) -> None:
    """Whatever the score: a fusion that was not validated, another kind of camera or a mere report prove nothing."""
    scripted.live_proven = proven
    settings = Vision.model_validate({"pad": pad, "repeated_frames": "off"})
    world = make_world(tmp_path, scripted, settings=settings, cameras=[Camera("other", "t-1", modality)])
    jpeg = scripted.picture([face(1, 0, 0.05, 0.9, live={"fused": 0.99})])
    event = decode(only(world.handler.process([world.frame(jpeg, by="other")])[0]).value, Recognition)
    assert event.liveness == pytest.approx(0.99)
    assert (event.liveness_proven, event.modality) == (expected, modality)


def test_liveness_that_no_model_can_judge_refuses_to_start(tmp_path: Path, scripted: Scripted) -> None:
    """Required without a fused score in the engine: an error at the start, not a lane where nobody is ever live."""
    scripted.live_threshold = None
    with pytest.raises(ModelError, match="requiring liveness"):
        make_world(tmp_path, scripted, settings=Vision(pad="required"))


@pytest.mark.parametrize(
    ("policy", "eyes", "expected", "reported"),
    [
        ("judge", True, "=ann", True),
        ("judge", None, "=ann", None),
        ("judge", False, "open_eyes", None),
        ("report_only", True, "=ann", None),
        ("report_only", False, "=ann", None),
    ],
)
def test_closed_eyes_never_vote_and_unknown_ones_are_said_to_be_unknown(
    tmp_path: Path, scripted: Scripted, policy: str, eyes: bool | None, expected: str, reported: bool | None
) -> None:
    """Null in the recognition asks for a PIN; where eyes are only reported they are always null."""
    settings = Vision.model_validate({"eyes": policy, "repeated_frames": "off"})
    world = make_world(tmp_path, scripted, settings=settings)
    results = world.handler.process([world.frame(scripted.picture([face(1, 0, 0.05, 0.9, eyes_open=eyes)]))])
    assert told(results) == [expected]
    if expected == "=ann":
        assert decode(only(results[0]).value, Recognition).eyes_open is reported


def test_guards_that_only_report_are_said_aloud(tmp_path: Path, scripted: Scripted) -> None:
    """A metric of each guard at the face, 1 where it decides."""

    def guards() -> list[float | None]:
        return [
            REGISTRY.get_sample_value("facepay_face_guard_bool", {"guard": name})
            for name in ("liveness", "eyes", "repeated_frames")
        ]

    make_world(tmp_path / "one", scripted, settings=Vision(pad="required"))
    assert guards() == [1, 1, 1]
    make_world(
        tmp_path / "two", scripted, settings=Vision(pad="report_only", eyes="report_only", repeated_frames="off")
    )
    assert guards() == [0, 0, 0]


def test_faces_outside_the_payers_zone_are_bystanders(tmp_path: Path, scripted: Scripted) -> None:
    """The left half is the zone: who stands right of it neither pays nor disturbs, however large."""
    left = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))
    settings = Vision(repeated_frames="off")
    world = make_world(tmp_path, scripted, settings=settings, cameras=[Camera("zoned", "t-1", "rgb", left)])
    ann, bob_beside = ANN_FACE, face(0, 1, 0.05, 0.9, width=120, x=250)
    jpegs = [scripted.picture(faces) for faces in ([bob_beside], [bob_beside, ann])]
    assert told(world.handler.process([world.frame(jpeg, by="zoned") for jpeg in jpegs])) == ["look_here", "=ann"]
    assert told(world.handler.process([world.frame(jpegs[1], replace(TERMS, amount_minor=1))])) == ["one_person_please"]


@pytest.mark.parametrize("mode", ["refuse", "report_only", "off"])
def test_a_picture_shown_before_does_not_vote(tmp_path: Path, scripted: Scripted, mode: str) -> None:
    """Also in the next intent of that camera; enough of them end the attempt with a PIN; another camera is another."""
    settings = Vision.model_validate({"repeated_frames": mode, "max_repeated_frames": 2})
    world = make_world(tmp_path, scripted, settings=settings, cameras=[Camera("other", "t-1")])
    world.handler._votes.policy = replace(world.handler._votes.policy, strong_threshold=0.99999)
    jpeg, before = scripted.picture([ANN_FACE]), rejected("repeated_frame")
    later = replace(TERMS, intent_id=derived_id("intent", "later"))
    frames = [world.frame(jpeg), world.frame(jpeg), world.frame(jpeg, later), world.frame(jpeg, later)]
    frames.append(world.frame(jpeg, replace(later, intent_id=derived_id("intent", "last")), by="other"))
    expected = {
        "refuse": (["-", "look_here", "look_here", "use_pin!", "-"], 3),
        "report_only": (["-", "=ann", "-", "=ann", "-"], 3),
        "off": (["-", "=ann", "-", "=ann", "-"], 0),
    }
    assert (told(world.handler.process(frames)), rejected("repeated_frame") - before) == expected[mode]


def test_frames_seen_badly_are_not_searched_for(tmp_path: Path, scripted: Scripted) -> None:
    """A dark, turned, blurred or sleeping face: who it is stays unknown, and the person hears what to do."""
    gallery = Counting(DIMENSION)
    gallery.put(derived_id("template", "ann"), ANN, unit(1, 0, 0, 0.9))
    world = make_world(tmp_path, scripted, gallery)
    seen = [replace(GOOD, brightness=0.05), replace(GOOD, yaw=0.6), replace(GOOD, sharpness=1)]
    faces = [*(face(1, 0, 0.05, 0.9, quality=each) for each in seen), face(1, 0, 0.05, 0.9, eyes_open=False)]
    words = told(world.handler.process([world.frame(scripted.picture([each])) for each in faces]))
    assert (words, gallery.probes) == (["better_light", "look_here", "hold_still", "open_eyes"], 0)
