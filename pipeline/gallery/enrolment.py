"""Enrolling a payer: pictures that are good enough, templates and a PIN verifier on their topics, confirmed.

Quality is judged before anything is written (`usable_vectors`), and a face that another payer already has is refused
(`check_not_enrolled`): two payers with one face could not be told apart at a till. The profile with the PIN goes out
first, so that no payer is recognised who could not confirm. All ids derive from payer and picture: enrolling again
after a failure writes the same records.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from pipeline.domain.quality import Limits, Look, Refusal, refusal
from pipeline.errors import FacepayError, KafkaUnavailable
from pipeline.gallery.protect.data_keys import open_data_keys
from pipeline.gallery.templates import seal_template
from pipeline.keys.keyring import Keyring
from pipeline.keys.pins import make_verifier, pin_pepper, seal_verifier
from pipeline.ports import DataKeys, GallerySearch, Vector
from pipeline.topics import GALLERY, PAYERS
from schemas.codec import encode
from schemas.events import GalleryTemplate, PayerProfile
from schemas.ids import derived_id

_CONFIRM_S = 30.0


class EnrolmentRefused(FacepayError):
    """The pictures do not make an enrolment. `reason`: `no_picture`, `no_face`, `several_faces`, `face_too_small`,
    `badly_lit`, `turned_away`, `blurred`, `eyes_closed`, `inconsistent` or `already_enrolled`."""

    exit_code = 1

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


@dataclass(frozen=True, slots=True, eq=False)
class SeenFace:
    """One face of a picture: the width of its box in pixels and its embedding, float32 (d,), of length 1.

    `look` and `eyes_open` are None where nobody measured them."""

    width_px: float
    vector: Vector = field(repr=False)
    look: Look | None = None
    eyes_open: bool | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """One picture offered for enrolment; `name` is for messages only."""

    name: str
    faces: Sequence[SeenFace]


def usable_vectors(
    pictures: Sequence[Picture], *, min_face_px: float, min_cosine: float, limits: Limits | None = None
) -> list[Vector]:
    """One embedding per picture, if each shows exactly one face at least `min_face_px` wide, seen as well as `limits`
    ask and without closed eyes, and every two of them are at least `min_cosine` alike; else raises `EnrolmentRefused`.
    The same picture given twice counts once.

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


def check_not_enrolled(search: GallerySearch, payer_id: str, vectors: Sequence[Vector], *, threshold: float) -> None:
    """Raises `EnrolmentRefused` `already_enrolled` if any other payer is at least `threshold` alike, that is, would be
    taken for this one. `search` must be ready."""
    for match in search.search(np.stack(vectors)):
        if match is None:
            continue
        nearest_other = match.runner_up if match.payer_id == payer_id else match.similarity
        if nearest_other >= threshold:
            raise EnrolmentRefused(
                "already_enrolled",
                f"enrolling: another payer has this face (cosine {nearest_other:.3f}, at most {threshold:.3f} is "
                "allowed); pass that payer's id to add pictures, or erase the other enrolment first",
            )


def enrol(
    producer: Producer,
    keyring: Keyring,
    payer_id: str,
    vectors: Sequence[Vector],
    model_sha256: str,
    pin: str | None,
    now_us: int,
    *,
    data_keys: DataKeys | None = None,
    gallery_topic: str = GALLERY,
    payers_topic: str = PAYERS,
) -> list[str]:
    """Writes a payer's templates and, with a `pin`, the profile; returns the template ids once Kafka confirmed every
    record. Raises `KafkaUnavailable` (then enrol again: the ids are the same), `UsageError` for a bad PIN,
    `DataKeyError` for an erased payer. Without `data_keys`, those beside the keyring are used."""
    keys = data_keys or open_data_keys(keyring)
    templates = [
        seal_template(keyring, keys, payer_id=payer_id, vector=vector, model_sha256=model_sha256, now_us=now_us)
        for vector in vectors
    ]
    if pin is not None:
        profile = _profile(keyring, payer_id, pin, now_us)
        _send(producer, payers_topic, [(payer_id, profile)])
    _send(producer, gallery_topic, [(template.template_id, template) for template in templates])
    return [template.template_id for template in templates]


def _profile(keyring: Keyring, payer_id: str, pin: str, now_us: int) -> PayerProfile:
    sealed = seal_verifier(keyring, payer_id, make_verifier(pin, pin_pepper(keyring)))
    return PayerProfile(
        event_id=derived_id(payer_id, "payer_profile", str(now_us)),
        payer_id=payer_id,
        key_version=1,
        sealed_pin_verifier=base64.b64encode(sealed).decode("ascii"),
        enrolled_at_us=now_us,
    )


def _send(producer: Producer, topic: str, records: Sequence[tuple[str, GalleryTemplate | PayerProfile]]) -> None:
    """Sends records and returns when each is confirmed; raises `KafkaUnavailable`."""
    failed: list[KafkaError] = []
    confirmed = 0

    def delivered(error: KafkaError | None, _: Message) -> None:
        nonlocal confirmed
        if error is None:
            confirmed += 1
        else:
            failed.append(error)

    try:
        for key, event in records:
            producer.produce(topic, encode(event), key=key.encode(), on_delivery=delivered)
    except (BufferError, KafkaException) as error:
        raise KafkaUnavailable(f"enrolling: writing to the topic {topic} failed: {error}; enrol again") from None
    deadline = time.monotonic() + _CONFIRM_S
    while confirmed + len(failed) < len(records) and time.monotonic() < deadline:
        producer.poll(0.1)
    if confirmed < len(records):
        why = failed[0].str() if failed else f"no answer within {_CONFIRM_S:.0f} s"
        raise KafkaUnavailable(
            f"enrolling: {len(records) - confirmed} of {len(records)} records for the topic {topic} were not confirmed "
            f"({why}); enrol again, the ids stay the same"
        )
