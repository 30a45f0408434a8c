"""One template, sealed: an embedding that no broker, disk or log can read.

The embedding is stored as little-endian float32 under AES-256-GCM, with a key derived from the keyring's `gallery.<v>`
secret. Template, payer, model and key version are its associated data: a template cannot be handed to another payer or
passed off as another model's. The id derives from payer and embedding, so that enrolling the same picture again is the
same template. One version seals at most 2^32 templates (`keys.seals`).
"""

from __future__ import annotations

import base64
import binascii

import numpy as np

from pipeline.errors import InvalidMessage, SealError, SettingsError
from pipeline.keys.derivation import derive, length_prefixed
from pipeline.keys.keyring import Keyring
from pipeline.keys.seals import AesGcmSeal
from pipeline.ports import Vector
from schemas.codec import sha256_hex
from schemas.events import GalleryTemplate
from schemas.ids import derived_id

NORM_TOLERANCE = 1e-3
"""How far the length of an embedding may be from 1."""

_FLOATS = np.dtype("<f4")


def template_id(payer_id: str, vector: Vector) -> str:
    """The id of the template of this payer and this embedding, float32 (d,)."""
    return derived_id(payer_id, "template", sha256_hex(vector.astype(_FLOATS).tobytes()))


def seal_template(
    keyring: Keyring, *, payer_id: str, vector: Vector, model_sha256: str, now_us: int
) -> GalleryTemplate:
    """The event that enrols `vector`, float32 (d,), of length 1; raises `InvalidMessage` `vector_invalid`."""
    _check(vector)
    version = keyring.gallery_version
    name = template_id(payer_id, vector)
    associated = _associated(name, payer_id, model_sha256, version)
    sealed = _seal(keyring, version).seal(vector.astype(_FLOATS).tobytes(), associated)
    return GalleryTemplate(
        event_id=derived_id(name, "gallery_template", str(version)),
        template_id=name,
        payer_id=payer_id,
        model_sha256=model_sha256,
        key_version=version,
        sealed=base64.b64encode(sealed).decode("ascii"),
        enrolled_at_us=now_us,
    )


def open_template(keyring: Keyring, template: GalleryTemplate) -> Vector:
    """The embedding, float32 (d,). Raises `SealError` `unknown_key_version` or `seal_broken`, or `InvalidMessage`
    `vector_invalid` if what was sealed is no embedding."""
    try:
        seal = _seal(keyring, template.key_version)
    except SettingsError:
        raise SealError(
            "unknown_key_version", f"the keyring holds no gallery key of version {template.key_version}"
        ) from None
    try:
        sealed = base64.b64decode(template.sealed, validate=True)
    except binascii.Error:
        raise SealError("seal_broken", "the sealed template is not base64") from None
    associated = _associated(template.template_id, template.payer_id, template.model_sha256, template.key_version)
    plain = seal.open(sealed, associated)
    if len(plain) % _FLOATS.itemsize:
        raise InvalidMessage("vector_invalid", "the template is no row of float32")
    vector = np.frombuffer(plain, _FLOATS).astype(np.float32)
    _check(vector)
    return vector


def _check(vector: Vector) -> None:
    """A zero, infinite or unnormalised vector would be like everybody or like nobody: it never enters a gallery."""
    if vector.ndim != 1 or not vector.size or not abs(float(np.linalg.norm(vector)) - 1.0) <= NORM_TOLERANCE:
        raise InvalidMessage("vector_invalid", "the embedding is no finite vector of length 1")


def _associated(template: str, payer_id: str, model_sha256: str, version: int) -> bytes:
    return length_prefixed("facepay.template.v1", template, payer_id, model_sha256, str(version))


def _seal(keyring: Keyring, version: int) -> AesGcmSeal:
    return AesGcmSeal(derive(keyring.secret(f"gallery.{version}"), "template"))
