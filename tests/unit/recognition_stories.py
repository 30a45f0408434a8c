"""Stories of frames before a terminal, as the tests of the vote tell them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pipeline.domain.quality import Limits, Look
from pipeline.domain.recognition import Answer, Candidate, Frame, Policy, Recognised, SeenFace, Vote, advance
from pipeline.domain.tracks import Place

LIMITS = Limits(
    min_eye_distance_px=20,
    min_sharpness=10,
    min_brightness=0.1,
    max_brightness=0.9,
    max_clipped=0.5,
    max_yaw=0.45,
    max_pitch=0.35,
    max_roll_deg=35,
)
POLICY = Policy(
    match_threshold=0.475,
    strong_threshold=0.65,
    margin=0.08,
    votes=2,
    min_face_px=48,
    limits=LIMITS,
    patience=4,
    refusal_patience=6,
    max_repeated=3,
)
CLEAR = Look(eye_distance_px=60)

Faces = tuple[SeenFace, ...]
Shot = Faces | Frame
"""Faces before the usual camera, or a frame as it is."""


def face(
    payer: str | None = None,
    similarity: float = 0.55,
    *,
    ahead: float = 0.3,
    width: float = 90,
    last: float | None = 0.8,
    live: float | None = None,
    look: Look = CLEAR,
    eyes: bool | None = True,
    zone: bool = True,
    x: float = 200,
) -> SeenFace:
    """A face that resembles `payer`, and the next payer by `ahead` less."""
    candidate = None
    if payer is not None:
        candidate = Candidate(payer_id=payer, similarity=similarity, runner_up=similarity - ahead)
    return SeenFace(
        place=Place(x, 100, width, width),
        look=look,
        in_zone=zone,
        candidate=candidate,
        similarity_to_last=last,
        live=live,
        eyes_open=eyes,
    )


def seen(*faces: SeenFace, camera: str = "cam-1", at_ms: int = 0, repeated: bool = False) -> Frame:
    """What a camera saw at a time of its own."""
    return Frame(camera=camera, at_us=at_ms * 1000, faces=faces, repeated=repeated)


ANN, BOB = face("ann"), face("bob")
STRONG = face("ann", 0.7)
THIN = face("ann", 0.6, ahead=0.05)
STRONG_BUT_THIN = face("ann", 0.9, ahead=0.05)
STRANGER = face("ann", 0.3)
NOBODY = face(None)
SMALL = face("ann", 0.9, width=47)
NEW_BOB = face("bob", last=0.1)
NEW_STRANGER = face("ann", 0.3, last=0.1)
NEW_STRONG_BOB = face("bob", 0.9, last=0.1)
ASLEEP = face("ann", 0.9, eyes=False)
DARK = face("ann", 0.9, look=replace(CLEAR, brightness=0.05))
TURNED = face("ann", 0.9, look=replace(CLEAR, yaw=-0.5))
BLURRED = face("ann", 0.9, look=replace(CLEAR, sharpness=5))
DISTANT = face("ann", 0.9, look=Look(eye_distance_px=19))
POOR = face("ann", look=Look(eye_distance_px=20, sharpness=10, yaw=0.45))
BYSTANDER = face("bob", 0.9, zone=False)
JUMPED = face("ann", last=0.4, x=500)
JUMPED_BUT_ALIKE = face("ann", last=0.5, x=500)


def run(shots: Sequence[Shot], policy: Policy = POLICY) -> tuple[Vote, list[Answer]]:
    """The vote after all frames, 200 ms apart unless they say otherwise, and each answer."""
    vote, answers = Vote(), []
    for number, shot in enumerate(shots):
        frame = shot if isinstance(shot, Frame) else seen(*shot, at_ms=number * 200)
        vote, answer = advance(vote, frame, policy)
        answers.append(answer)
    return vote, answers


def told(answer: Answer) -> str | None:
    """An answer in one word: the payer, or the advice with ! when it is final."""
    if isinstance(answer, Recognised):
        return f"={answer.payer_id}"
    return None if answer is None else answer.code + ("!" if answer.final else "")
