"""One template, sealed: an embedding that no broker, disk or log can read, and that can be destroyed.

What is sealed is not the embedding but its image in the space of the gallery's key version (`protect.transform`), with
what else must be known to whoever searches (`TemplateFacts`). The seal is AES-256-GCM; its key is HMAC-SHA256 of the
payer's data key (`protect.data_keys`) under a key of the version's secret, so that destroying either shreds the
template. Template, payer, model, key version, data key and lookalike flag are its associated data: a template cannot be
handed to another payer, passed off as another model's or stripped of its flag.

    payload   0x02, then length-prefixed: phone tag, last-four tag (UTF-8, empty = none), vector (little-endian float32)

The id derives from payer and clear embedding, so that enrolling the same picture again is the same template, and a
re-key keeps the ids. The first format of the payload, sealed under the keyring alone, is refused (`no_data_key`): only
`reseal`, that is a re-key, reads it.

One key seals a payer's templates of one version: far below the 2^32 of `keys.seals`.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from pipeline.errors import InvalidMessage, SealError
from pipeline.gallery.protect.transform import Transform, version_key
from pipeline.keys.derivation import length_prefixed
from pipeline.keys.keyring import Keyring
from pipeline.keys.seals import AesGcmSeal
from pipeline.ports import DataKeys, Vector
from schemas.codec import sha256_hex
from schemas.events import GalleryTemplate
from schemas.ids import derived_id

NORM_TOLERANCE = 1e-3
"""How far the length of an embedding may be from 1."""

_FLOATS = np.dtype("<f4")
_FORMAT = b"\x02"
_LENGTH_BYTES = 4


@dataclass(frozen=True, slots=True)
class TemplateFacts:
    """What is sealed beside the vector: keyed tags (`keys.claims`) by which a payer may claim to be this one."""

    phone_tag: str | None = field(default=None, repr=False)
    last_four_tag: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class OpenedTemplate:
    """A template whose seal held; `vector` is float32 (d,), in the space that was asked for, never in clear."""

    template_id: str
    payer_id: str
    vector: Vector = field(repr=False)
    facts: TemplateFacts = field(repr=False)
    lookalike: bool
    model_sha256: str


def template_id(payer_id: str, vector: Vector) -> str:
    """The id of the template of this payer and this embedding, float32 (d,), in clear."""
    return derived_id(payer_id, "template", sha256_hex(vector.astype(_FLOATS).tobytes()))


def seal_template(
    keyring: Keyring,
    data_keys: DataKeys,
    *,
    payer_id: str,
    vector: Vector,
    model_sha256: str,
    now_us: int,
    facts: TemplateFacts | None = None,
    lookalike: bool | None = None,
    name: str | None = None,
) -> GalleryTemplate:
    """The event that enrols `vector`, float32 (d,), in clear, of length 1, under the gallery version in force; makes
    the payer's data key if there is none. `name` is its id where that does not derive from the picture. Raises
    `InvalidMessage` `vector_invalid`, `DataKeyError` for an erased payer."""
    _check(vector)
    space = Transform.of(keyring, keyring.gallery_version, len(vector))
    data_key_id, key = data_keys.create(payer_id, space.version)
    name = name or template_id(payer_id, vector)
    event = GalleryTemplate(
        event_id=_event_id(name, space.version, lookalike),
        template_id=name,
        payer_id=payer_id,
        model_sha256=model_sha256,
        key_version=space.version,
        sealed="",
        enrolled_at_us=now_us,
        data_key_id=data_key_id,
        lookalike=lookalike,
    )
    return _sealed(event, _seal(_version_key(keyring, space.version), key), space.apply(vector), facts)


def open_template(
    keyring: Keyring, data_keys: DataKeys, template: GalleryTemplate, *, space: Transform
) -> OpenedTemplate:
    """As `open_templates` for one; raises what that returns."""
    (opened,) = open_templates(keyring, data_keys, [template], space=space)
    if isinstance(opened, InvalidMessage):
        raise opened
    return opened


def open_templates(
    keyring: Keyring, data_keys: DataKeys, templates: Sequence[GalleryTemplate], *, space: Transform
) -> list[OpenedTemplate | InvalidMessage]:
    """Each template opened, its vector in `space`, or why it is refused, in the same order.

    `SealError` reasons: `no_data_key` (the format before data keys), `data_key_destroyed` (its payer was erased, or a
    re-key went past it), `unknown_data_key`, `unknown_key_version`, `seal_broken`. `InvalidMessage` `vector_invalid`:
    what was sealed is no embedding of the space's dimension. The store of data keys is asked once, and nothing is
    remembered: a key that was destroyed before this call opens nothing.
    """
    keys = _Keys(keyring, data_keys, templates)
    answers: list[OpenedTemplate | InvalidMessage] = []
    foreign: dict[int, list[int]] = {}
    for at, template in enumerate(templates):
        try:
            opened = _opened(template, keys)
            if len(opened.vector) != space.dimension:
                raise InvalidMessage("vector_invalid", "the embedding has another length than the model's")
        except InvalidMessage as refused:
            answers.append(refused)
            continue
        answers.append(opened)
        if template.key_version != space.version:
            foreign.setdefault(template.key_version, []).append(at)
    for version, places in foreign.items():
        here = [held for at in places if isinstance(held := answers[at], OpenedTemplate)]
        turned = space.turn(np.stack([held.vector for held in here]), Transform.of(keyring, version, space.dimension))
        for at, held, vector in zip(places, here, turned, strict=True):
            answers[at] = replace(held, vector=vector)
    return answers


def with_lookalike(
    keyring: Keyring, data_keys: DataKeys, template: GalleryTemplate, *, lookalike: bool = True
) -> GalleryTemplate:
    """The same template with another lookalike flag, sealed anew under the version in force. Raises `SealError` as
    `open_templates` has it."""
    (changed,) = reseal(keyring, data_keys, [template], lookalike=lookalike)
    if isinstance(changed, InvalidMessage):
        raise changed
    return changed


def reseal(
    keyring: Keyring, data_keys: DataKeys, templates: Sequence[GalleryTemplate], *, lookalike: bool | None = None
) -> list[GalleryTemplate | InvalidMessage]:
    """Each template sealed anew under the gallery version in force and its payer's data key of that version, or why it
    is refused (as `open_templates` has it; an erased payer is `data_key_destroyed`), in the same order.

    Ids, facts, times and, without `lookalike`, flags stay. The first format is read too."""
    keys = _Keys(keyring, data_keys, templates)
    version = keyring.gallery_version
    made = data_keys.create_many({template.payer_id for template in templates}, version)
    answers: list[GalleryTemplate | InvalidMessage] = []
    for template in templates:
        try:
            if template.payer_id not in made:
                raise SealError("data_key_destroyed", "the payer of this template was erased")
            data_key_id, key = made[template.payer_id]
            opened = _opened(template, keys) if template.data_key_id is not None else _first_format(keyring, template)
            to, of = (Transform.of(keyring, v, len(opened.vector)) for v in (version, template.key_version))
            flag = template.lookalike if lookalike is None else lookalike
            event = replace(
                template,
                event_id=_event_id(template.template_id, version, flag),
                key_version=version,
                data_key_id=data_key_id,
                lookalike=flag,
            )
            answers.append(_sealed(event, _seal(keys.version(version), key), to.turn(opened.vector, of), opened.facts))
        except InvalidMessage as refused:
            answers.append(refused)
    return answers


class _Keys:
    """The keys of some templates, asked for once."""

    def __init__(self, keyring: Keyring, data_keys: DataKeys, templates: Sequence[GalleryTemplate]) -> None:
        names = {t.data_key_id for t in templates if t.data_key_id is not None}
        self._keyring = keyring
        self._versions: dict[int, bytes] = {}
        self._living = data_keys.get(names)
        gone = names - self._living.keys()
        self._destroyed = data_keys.destroyed(gone) if gone else frozenset()

    def version(self, version: int) -> bytes:
        """The key of a gallery version; raises `SealError` `unknown_key_version`."""
        if version not in self._versions:
            self._versions[version] = _version_key(self._keyring, version)
        return self._versions[version]

    def seal(self, template: GalleryTemplate) -> AesGcmSeal:
        """The template's seal; raises `SealError`."""
        name = template.data_key_id
        if name is None:
            raise SealError("no_data_key", "the template is from before data keys; run `facepay gallery rekey`")
        if name in self._destroyed:
            raise SealError("data_key_destroyed", "the data key of this template was destroyed")
        if name not in self._living:
            raise SealError("unknown_data_key", "the store of data keys does not know the key of this template")
        return _seal(self.version(template.key_version), self._living[name])


def _version_key(keyring: Keyring, version: int) -> bytes:
    return version_key(keyring, version, "seal")


def _seal(of_version: bytes, of_payer: bytes) -> AesGcmSeal:
    return AesGcmSeal(hmac.digest(of_version, of_payer, "sha256"))


def _sealed(event: GalleryTemplate, seal: AesGcmSeal, vector: Vector, facts: TemplateFacts | None) -> GalleryTemplate:
    """`event` with its payload sealed; `vector` is in the space of the event's version."""
    facts = facts or TemplateFacts()
    parts = (facts.phone_tag or "", facts.last_four_tag or "", vector.astype(_FLOATS).tobytes())
    sealed = seal.seal(_FORMAT + length_prefixed(*parts), _associated(event))
    return replace(event, sealed=base64.b64encode(sealed).decode("ascii"))


def _opened(template: GalleryTemplate, keys: _Keys) -> OpenedTemplate:
    """The template's content, its vector in the space of its own version. Raises `SealError`, `InvalidMessage`
    `payload_invalid` or `vector_invalid`."""
    plain = keys.seal(template).open(_bytes(template), _associated(template))
    parts = _parts(plain)
    if parts is None:
        raise InvalidMessage("payload_invalid", "the template's payload has a format that this program does not know")
    phone, last_four, raw = parts
    facts = TemplateFacts(phone.decode() or None, last_four.decode() or None)
    return OpenedTemplate(
        template.template_id, template.payer_id, _vector(raw), facts, bool(template.lookalike), template.model_sha256
    )


def _first_format(keyring: Keyring, template: GalleryTemplate) -> OpenedTemplate:
    """A template from before data keys; its vector, which was sealed in clear, in the space of its version."""
    seal = AesGcmSeal(version_key(keyring, template.key_version, "template"))
    bound = (template.template_id, template.payer_id, template.model_sha256, str(template.key_version))
    clear = _vector(seal.open(_bytes(template), length_prefixed("facepay.template.v1", *bound)))
    protected = Transform.of(keyring, template.key_version, len(clear)).apply(clear)
    return OpenedTemplate(
        template.template_id,
        template.payer_id,
        protected,
        TemplateFacts(),
        bool(template.lookalike),
        template.model_sha256,
    )


def _parts(plain: bytes) -> tuple[bytes, bytes, bytes] | None:
    """The three fields of a payload, or None if it is none."""
    fields: list[bytes] = []
    at = len(_FORMAT)
    while at < len(plain) and len(fields) < 3:
        start = at + _LENGTH_BYTES
        at = start + int.from_bytes(plain[at:start], "big")
        fields.append(plain[start:at])
    if plain[:1] != _FORMAT or at != len(plain) or len(fields) != 3:
        return None
    return fields[0], fields[1], fields[2]


def _bytes(template: GalleryTemplate) -> bytes:
    try:
        return base64.b64decode(template.sealed, validate=True)
    except binascii.Error:
        raise SealError("seal_broken", "the sealed template is not base64") from None


def _vector(raw: bytes) -> Vector:
    if len(raw) % _FLOATS.itemsize:
        raise InvalidMessage("vector_invalid", "the template is no row of float32")
    vector = np.frombuffer(raw, _FLOATS).astype(np.float32)
    _check(vector)
    return vector


def _check(vector: Vector) -> None:
    """A zero, infinite or unnormalised vector would be like everybody or like nobody: it never enters a gallery."""
    if vector.ndim != 1 or not vector.size or not abs(float(np.linalg.norm(vector)) - 1.0) <= NORM_TOLERANCE:
        raise InvalidMessage("vector_invalid", "the embedding is no finite vector of length 1")


def _event_id(template: str, version: int, lookalike: bool | None) -> str:  # noqa: FBT001 - as the event has it
    return derived_id(template, "gallery_template", str(version), *(["lookalike"] if lookalike else []))


def _associated(event: GalleryTemplate) -> bytes:
    return length_prefixed(
        "facepay.template.v2",
        event.template_id,
        event.payer_id,
        event.model_sha256,
        str(event.key_version),
        event.data_key_id or "",
        {None: "", False: "no", True: "yes"}[event.lookalike],
    )
