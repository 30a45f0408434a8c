"""What the system saw and decided: frames as they were sent, with the faces that the detector finds in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from loadtests.demo.backstage import Backstage, SeenBox
from loadtests.motion import HEIGHT, WIDTH, Scene, thumbnail
from loadtests.people.cast import Payer
from loadtests.people.visits import THEFTS, Kind
from loadtests.report.markup import Markup, data_uri, el, join
from loadtests.report.payments import Payment

SHOT_PX = 320
ENROLMENT_PX = 64


@dataclass(frozen=True, slots=True)
class Shot:
    """One frame of a payment."""

    payment: Payment
    scene: Scene
    jpeg: bytes


def choose(payments: Sequence[Payment]) -> list[Shot]:
    """A few frames of each kind of decision: what is usual, and everything that is not."""
    usual = (("face", 8), ("PIN", 4), ("theft", 8), ("stranger", 4), ("two", 4), ("far", 4))
    wanted: tuple[tuple[str, int], ...] = (("wrong", 4), *usual, ("declined", 2), ("unsettled", 2))
    shots: list[Shot] = []
    for kind, most in wanted:
        shots += [shot for _, shot in zip(range(most), _of_kind(payments, kind), strict=False)]
    return shots


def _of_kind(payments: Sequence[Payment], kind: str) -> Iterator[Shot]:
    for payment in payments:
        visit, pictures = payment.visit.visit, payment.visit.film.pictures
        near = next((scene for scene in (Scene.CLOSE, Scene.NEAR) if scene in pictures), None)
        scenes = {"two": Scene.TWO, "far": Scene.FAR}
        scene = scenes.get(kind, near)
        fits = {
            "wrong": not payment.right,
            "face": payment.method == "face" and isinstance(visit.who, Payer) and not visit.who.same_picture,
            "PIN": payment.method == "face_pin",
            "declined": payment.outcome == "declined",
            "theft": visit.kind in THEFTS,
            "stranger": visit.payer_id is None and visit.kind not in THEFTS,
            "two": True,
            "far": visit.kind is Kind.FAR_FIRST,
            "unsettled": visit.payer_id is not None and visit.kind is Kind.PLAIN and payment.outcome != "settled",
        }[kind]
        if fits and scene is not None and scene in pictures:
            yield Shot(payment, scene, pictures[scene])


def section(shots: Sequence[Shot], backstage: Backstage, min_face_px: float) -> Markup:
    """The pictures with their boxes and captions."""
    boxes = backstage.boxes([shot.jpeg for shot in shots])
    return el("div", (_figure(s, b, min_face_px) for s, b in zip(shots, boxes, strict=True)), class_="shots")


def _figure(shot: Shot, boxes: Sequence[SeenBox], min_face_px: float) -> Markup:
    payment = shot.payment
    drawn = el(
        "svg",
        (
            el("rect", x=b.x, y=b.y, width=b.width, height=b.height,
               class_="face" if b.width >= min_face_px else "face small-face")
            for b in boxes
        ),
        viewbox=f"0 0 {WIDTH} {HEIGHT}",
    )  # fmt: skip
    who = payment.visit.visit.who
    enrolled = None
    if isinstance(who, Payer):
        small = data_uri(thumbnail(who.enrolled_with.read_bytes(), ENROLMENT_PX))
        label = "the same photograph" if who.same_picture else "enrolled with"
        enrolled = el("div", el("img", src=small, alt="photograph of the enrolment"), el("span", label), class_="inset")
    picture = el("img", src=data_uri(thumbnail(shot.jpeg, SHOT_PX, 75)), alt=f"frame of payment {payment.number}")
    return el(
        "figure",
        el("div", picture, drawn, enrolled, class_="shot"),
        el("figcaption", join((el("b", seen(boxes, min_face_px)), el("br"), decided(shot), " ",
                               el("a", f"payment {payment.number}", href=f"#{payment.anchor}")))),
    )  # fmt: skip


def seen(boxes: Sequence[SeenBox], min_face_px: float) -> str:
    """What the detector found, in words."""
    if not boxes:
        return "No face found"
    widths = ", ".join(f"{box.width:.0f} px" for box in boxes)
    large = sum(box.width >= min_face_px for box in boxes)
    what = "1 face" if len(boxes) == 1 else f"{len(boxes)} faces"
    note = "" if large == len(boxes) else f", {len(boxes) - large} too small to judge"
    return f"{what}, {widths} wide{note}"


def decided(shot: Shot) -> str:
    """What followed, in words."""
    payment, scene = shot.payment, shot.scene
    hints = payment.visit.hints
    if scene is Scene.TWO and "one_person_please" in hints:
        return "Hint: one person please; nothing is decided while two stand there."
    if scene is Scene.FAR and hints:
        return f"Hint: {hints[0].replace('_', ' ')}."
    line = payment.timeline
    parts = []
    if line is not None and line.similarity is not None:
        parts.append(f"recognised at similarity {line.similarity:.2f}, margin {line.margin or 0:.2f}")
    elif hints:
        parts.append(hints[-1].replace("_", " "))
    if line is not None and line.decision is not None:
        parts.append(line.decision.replace("_", " "))
    parts.append(payment.colour_key)
    said = ", ".join([payment.visit.visit.kind.value, *parts] if payment.visit.visit.kind in THEFTS else parts)
    return f"{said[:1].upper()}{said[1:]}."
