"""The desk: an enrolment that was judged goes onto its topics, under a consent that the journal has first.

The order is one that may stop anywhere. The consent is in the journal before anything personal is written; the profile
with the PIN goes out before the templates, so that no payer is recognised who could not confirm; the journal says
`enrolled` when Kafka has all of it. All ids derive from payer and picture: enrolling again after a failure writes the
same records, and the journal notes nothing twice.

An erasure that comes in between wins: templates that are written after it cannot be opened by anybody, because the
payer's data key is gone; and as the journal has one order per payer, the desk finds the erasure there when it is done,
and takes back what it has written.
"""

from __future__ import annotations

import base64
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import structlog
from confluent_kafka import Producer

from pipeline.domain.consent import standing
from pipeline.errors import DataKeyError, InvalidMessage
from pipeline.gallery.enrolment import EnrolmentRefused
from pipeline.gallery.journal import Deed, Journal
from pipeline.gallery.records import PayersTemplates, write
from pipeline.gallery.templates import TemplateFacts, seal_template, with_lookalike
from pipeline.keys.keyring import Keyring
from pipeline.keys.pins import make_verifier, pin_pepper, seal_verifier
from pipeline.ports import Clock, DataKeys, Vector
from pipeline.runtime.producer import make_producer
from pipeline.settings import Kafka
from pipeline.topics import GALLERY, PAYERS
from schemas.codec import sha256_hex
from schemas.events import ConsentRecord, GalleryTemplate, JournalEntry, PayerProfile
from schemas.ids import derived_id

log = structlog.get_logger(__name__)

_ATTEMPT = "enrolling"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Enrolment:
    """Who is enrolled, and with what: embeddings in clear, float32 (d,), that `usable_vectors` has let pass."""

    payer_id: str
    vectors: Sequence[Vector] = field(repr=False)
    model_sha256: str
    consent: ConsentRecord
    pin: str | None = field(default=None, repr=False)
    facts: TemplateFacts = field(default=TemplateFacts(), repr=False)
    lookalike: bool = False


class EnrolmentDesk:
    """Writes enrolments; safe for several threads."""

    def __init__(
        self,
        kafka: Kafka,
        keyring: Keyring,
        data_keys: DataKeys,
        journal: Journal,
        clock: Clock,
        *,
        producer: Producer | None = None,
        gallery_topic: str = GALLERY,
        payers_topic: str = PAYERS,
    ) -> None:
        self._kafka = kafka
        self._keyring = keyring
        self._data_keys = data_keys
        self._journal = journal
        self._clock = clock
        self._producer = producer or make_producer(kafka)
        self._gallery = gallery_topic
        self._payers = payers_topic

    def enrol(self, enrolment: Enrolment) -> list[str]:
        """Writes all of it; returns the template ids once Kafka has confirmed every record and the journal says so.

        Raises `KafkaUnavailable` (then enrol again: the ids are the same), `UsageError` for a bad PIN, and
        `EnrolmentRefused` `payer_erased`."""
        payer_id, now_us = enrolment.payer_id, self._clock()
        profile = None if enrolment.pin is None else self._profile(payer_id, enrolment.pin, now_us)
        templates = self._sealed(enrolment, now_us)
        self._journal.append(payer_id, lambda chain: _consents(chain, enrolment.consent))
        if profile is not None:
            write(self._producer, self._payers, [(payer_id, profile)], attempt=_ATTEMPT)
        write(self._producer, self._gallery, [(t.template_id, t) for t in templates], attempt=_ATTEMPT)
        ids = [template.template_id for template in templates]
        try:
            self._journal.append(payer_id, lambda chain: _enrols(chain, enrolment, ids))
        except EnrolmentRefused:
            write(self._producer, self._payers, [(payer_id, None)], attempt=_ATTEMPT)
            write(self._producer, self._gallery, [(name, None) for name in ids], attempt=_ATTEMPT)
            raise
        return ids

    def flag(self, payer_ids: Collection[str]) -> int:
        """Writes every living template of these payers again, flagged as a lookalike's; returns how many were not yet.
        Raises `KafkaUnavailable`. What cannot be opened (its payer was erased meanwhile) is left alone."""
        if not payer_ids:
            return 0
        living = PayersTemplates(self._kafka, self._gallery, sorted(payer_ids)).update()
        flagged: list[tuple[str, GalleryTemplate]] = []
        for name, template in living.items():
            if template.lookalike:
                continue
            try:
                flagged.append((name, with_lookalike(self._keyring, self._data_keys, template)))
            except (InvalidMessage, DataKeyError) as error:
                log.info("lookalike_not_flagged", reason=error.reason)
        write(self._producer, self._gallery, flagged, attempt="flagging lookalikes")
        return len(flagged)

    def _sealed(self, enrolment: Enrolment, now_us: int) -> list[GalleryTemplate]:
        try:
            return [
                seal_template(
                    self._keyring,
                    self._data_keys,
                    payer_id=enrolment.payer_id,
                    vector=vector,
                    model_sha256=enrolment.model_sha256,
                    now_us=now_us,
                    facts=enrolment.facts,
                    lookalike=True if enrolment.lookalike else None,
                )
                for vector in enrolment.vectors
            ]
        except DataKeyError as error:
            if error.reason != "payer_erased":
                raise
            raise _erased() from None

    def _profile(self, payer_id: str, pin: str, now_us: int) -> PayerProfile:
        sealed = seal_verifier(self._keyring, payer_id, make_verifier(pin, pin_pepper(self._keyring)))
        return PayerProfile(
            event_id=derived_id(payer_id, "payer_profile", str(now_us)),
            payer_id=payer_id,
            key_version=1,
            sealed_pin_verifier=base64.b64encode(sealed).decode("ascii"),
            enrolled_at_us=now_us,
        )


def _erased() -> EnrolmentRefused:
    return EnrolmentRefused(
        "payer_erased",
        "enrolling: this payer was erased, and an erased payer's id is never used again; enrol the person anew, under "
        "another id",
    )


def _consents(chain: Sequence[JournalEntry], consent: ConsentRecord) -> list[Deed]:
    """The consent, unless exactly this one stands. A payer may give the same one again after another: its place in the
    chain tells them apart."""
    if any(entry.what == "erased" for entry in chain):
        raise _erased()
    if standing(chain) == consent:
        return []
    return [Deed(what="consent_given", once=str(len(chain)), consent=consent)]


def _enrols(chain: Sequence[JournalEntry], enrolment: Enrolment, template_ids: Sequence[str]) -> list[Deed]:
    if any(entry.what == "erased" for entry in chain):
        raise _erased()
    once = sha256_hex(" ".join(sorted(template_ids)).encode())
    return [Deed(what="enrolled", once=once, templates=len(template_ids), model_sha256=enrolment.model_sha256)]
