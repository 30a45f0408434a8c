"""Judging an enrolment: pictures that are good enough, of a face that nobody else has.

Quality, eyes and, where it is required, liveness are judged before anything is written (`usable_vectors`). Liveness of
a portrait says that the picture shows no print, screen or mask; that the person stood before the camera just now it
does not say: whoever enrols vouches for that.

A face that another payer has is refused: two payers with one face could not be told apart at a till. Declared twins are
let in, and so is a face that is only near another one (`similar`): then both payers are flagged, and a flagged payer's
face is never proof enough (`domain.risk` asks for the PIN).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from pipeline.domain.quality import Limits, Look, Refusal, refusal
from pipeline.errors import FacepayError
from pipeline.gallery.index import ExactIndex
from pipeline.ports import Vector

_CONFIRM_S = 30.0


class EnrolmentRefused(FacepayError):
    """The pictures do not make an enrolment. `reason`: `no_picture`, `no_face`, `several_faces`, `face_too_small`,
    `badly_lit`, `turned_away`, `blurred`, `eyes_closed`, `not_live`, `inconsistent`, `already_enrolled`,
    `no_such_twin` or `payer_erased`."""

    exit_code = 1

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


@dataclass(frozen=True, slots=True, eq=False)
class SeenFace:
    """One face of a picture: the width of its box in pixels and its embedding, float32 (d,), of length 1.

    `look`, `eyes_open` and `live` (the engine's fused liveness, 0 to 1) are None where nobody measured them."""

    width_px: float
    vector: Vector = field(repr=False)
    look: Look | None = None
    eyes_open: bool | None = None
    live: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """One picture offered for enrolment; `name` is for messages only."""

    name: str
    faces: Sequence[SeenFace]


def usable_vectors(
    pictures: Sequence[Picture],
    *,
    min_face_px: float,
    min_cosine: float,
    limits: Limits | None = None,
    min_live: float | None = None,
) -> list[Vector]:
    """One embedding per picture, if each shows exactly one face at least `min_face_px` wide, seen as well as `limits`
    ask, without closed eyes and, where `min_live` is given, at least that live, and every two of them are at least
    `min_cosine` alike; else raises `EnrolmentRefused`. The same picture given twice counts once.

    A template is compared with every frame to come: what a terminal would refuse must not become one."""
    if not pictures:
        raise EnrolmentRefused("no_picture", "enrolling: no picture was given; pass at least one")
    vectors: list[Vector] = []
    names: list[str] = []
    for picture in pictures:
        if not picture.faces:
            raise EnrolmentRefused("no_face", f"enrolling: {picture.name} shows no face; use a frontal portrait")
        if len(picture.faces) > 1:
            raise EnrolmentRefused(
                "several_faces",
                f"enrolling: {picture.name} shows {len(picture.faces)} faces; use a picture of one person alone",
            )
        face = picture.faces[0]
        if face.width_px < min_face_px:
            raise EnrolmentRefused(
                "face_too_small",
                f"enrolling: the face in {picture.name} is {face.width_px:.0f} pixels wide, at least "
                f"{min_face_px:.0f} are needed; use a larger picture",
            )
        _check_look(picture.name, face, limits)
        # A face that nobody judged is not live either.
        if min_live is not None and not (face.live is not None and face.live >= min_live):
            raise EnrolmentRefused(
                "not_live",
                f"enrolling: {picture.name} looks like a picture of a picture; take one of the person themselves",
            )
        for name, vector in zip(names, vectors, strict=True):
            if not float(vector @ face.vector) >= min_cosine:
                raise EnrolmentRefused(
                    "inconsistent",
                    f"enrolling: {name} and {picture.name} do not seem to show one person; leave out the wrong one",
                )
        if not any(np.array_equal(face.vector, vector) for vector in vectors):
            vectors.append(face.vector)
            names.append(picture.name)
    return vectors


_BADLY_SEEN: Mapping[Refusal, tuple[str, str, str]] = {
    "come_closer": ("face_too_small", "is seen in too few pixels", "use a larger picture"),
    "better_light": ("badly_lit", "is too dark, too bright or without detail", "use an evenly lit picture"),
    "look_here": ("turned_away", "is turned away", "use a frontal portrait"),
    "hold_still": ("blurred", "is blurred", "use a sharp picture"),
}
"""Why a face is not seen well: the reason, what was found, what to do."""


def _check_look(name: str, face: SeenFace, limits: Limits | None) -> None:
    """Raises `EnrolmentRefused` for a face that a terminal would not judge."""
    why = refusal(face.look, limits) if face.look is not None and limits is not None else None
    if why is not None:
        reason, found, remedy = _BADLY_SEEN[why]
        raise EnrolmentRefused(reason, f"enrolling: the face in {name} {found}; {remedy}")
    if face.eyes_open is False:
        raise EnrolmentRefused(
            "eyes_closed", f"enrolling: the eyes of the face in {name} are closed; use a picture with open eyes"
        )


@dataclass(frozen=True, slots=True)
class Similar:
    """Who else in the gallery is alike: by payer, the greatest cosine of any two templates. `flagged`: whether the
    payer is there already, as a lookalike."""

    others: Mapping[str, float]
    flagged: bool


def similar(index: ExactIndex, payer_id: str, vectors: Vector, *, least: float) -> Similar:
    """Every other payer at least `least` alike to one of `vectors`, float32 (n, d), in the index's space."""
    others: dict[str, float] = {}
    flagged = False
    for part in index.dump_parts():
        cosines = (part.vectors.astype(np.float32, copy=False) @ vectors.T).max(axis=1)
        for row in np.flatnonzero(cosines >= least):
            other = part.payer_ids[int(row)]
            if other != payer_id:
                others[other] = max(others.get(other, -1.0), float(cosines[row]))
        marked = np.flatnonzero(part.lookalikes)
        flagged = flagged or any(part.payer_ids[int(row)] == payer_id for row in marked)
    return Similar(others, flagged)


def lookalikes(found: Similar, *, match: float, twins: Collection[str] = ()) -> frozenset[str]:
    """The payers that must be flagged together with the one who is enrolled: all of `found`, and the declared `twins`.

    Raises `EnrolmentRefused` `already_enrolled` if any other than a declared twin is at least `match` alike, that is,
    would be taken for this one."""
    taken = [cosine for other, cosine in found.others.items() if cosine >= match and other not in twins]
    if taken:
        raise EnrolmentRefused(
            "already_enrolled",
            f"enrolling: another payer has this face (cosine {max(taken):.3f}, less than {match:.3f} is allowed); pass "
            "that payer's id by --payer to add pictures, declare a twin by --twin-of, or erase the other enrolment",
        )
    return frozenset(found.others) | frozenset(twins)
