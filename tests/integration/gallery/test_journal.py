"""The journal over the real Kafka: one chain per subject, whoever writes, and nothing twice."""

from __future__ import annotations

import threading

import pytest
from confluent_kafka import Producer

from pipeline.domain.consent import first_fault, standing
from pipeline.errors import KafkaUnavailable
from pipeline.gallery import journal as journal_module
from pipeline.gallery.journal import Deed, Journal
from pipeline.runtime import reader
from pipeline.settings import Kafka
from schemas.events import ConsentRecord
from schemas.ids import derived_id
from tests.integration.gallery.gallery_world import CONSENT, Place, faces, now_us

ANN, BEN = derived_id("payer", "ann"), derived_id("payer", "ben")


def noted(place: Place, subject: str) -> list[str]:
    """What was done to a subject, once its chain was found whole."""
    chain = place.journal.chain(subject)
    assert first_fault([each.entry for each in chain], [each.raw for each in chain]) is None
    return [each.entry.what for each in chain]


def test_operators_who_write_at_once_make_one_chain(place: Place) -> None:
    """Two processes append to two subjects at the same time: every entry is there once and each chain is whole."""
    other = Journal(place.kafka, "bob", now_us, topic=place.journal_topic)
    failed: list[Exception] = []

    def write(journal: Journal, name: str) -> None:
        try:
            for number in range(4):
                for subject in (ANN, BEN):
                    journal.append(subject, lambda _, once=f"{name}{number}": [Deed(what="enrolled", once=once)])  # type: ignore[misc]
        except Exception as error:  # noqa: BLE001 - told in the test's own thread
            failed.append(error)

    writers = [threading.Thread(target=write, args=(j, n)) for j, n in ((place.journal, "a"), (other, "b"))]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    other.close()
    assert failed == []
    for subject in (ANN, BEN):
        assert noted(place, subject) == ["enrolled"] * 8
    assert {each.entry.who for each in place.journal.chain(ANN)} == {"ann", "bob"}


def test_what_was_noted_is_not_noted_again(place: Place) -> None:
    """The same deed, by this process or another one that starts later."""
    for journal in (place.journal, Journal(place.kafka, "bob", now_us, topic=place.journal_topic)):
        for _ in range(2):
            journal.append(ANN, lambda _: [Deed(what="enrolled", once="x"), Deed(what="enrolled", once="y")])
    assert noted(place, ANN) == ["enrolled"] * 2


def test_a_writer_that_died_in_the_middle_leaves_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its transaction is aborted by the next writer, which appends as if it had never been."""

    class Dying(Producer):
        """Dies between writing and committing."""

        def commit_transaction(self, *_: object) -> None:
            self.flush(10)
            raise KeyboardInterrupt

    place.journal.append(ANN, lambda _: [Deed(what="enrolled", once="before")])
    with monkeypatch.context() as patch:
        patch.setattr(journal_module, "Producer", Dying)
        with pytest.raises(KeyboardInterrupt):
            Journal(place.kafka, "bob", now_us, topic=place.journal_topic).append(
                ANN, lambda _: [Deed(what="enrolled", once="lost")]
            )
    place.journal.append(ANN, lambda _: [Deed(what="enrolled", once="after")])
    assert noted(place, ANN) == ["enrolled"] * 2


def test_a_consent_is_noted_when_another_one_stands(place: Place) -> None:
    """The same one once; a newer text, and the old one again, each anew: and always before the templates."""
    newer = ConsentRecord(text_version="2027-01", purposes=("face_payment",))
    for consent in (CONSENT, CONSENT, newer, CONSENT):
        place.enrol(ANN, faces(1), pin=None, consent=consent)
    assert noted(place, ANN) == ["consent_given", "enrolled", "consent_given", "consent_given"]
    assert standing([each.entry for each in place.journal.chain(ANN)]) == CONSENT


def test_without_kafka_nothing_is_noted_and_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a bounded time, in one sentence."""
    monkeypatch.setattr(reader, "METADATA_TIMEOUT_S", 1.0)
    journal = Journal(Kafka(bootstrap="127.0.0.1:1"), "ann", now_us)
    with pytest.raises(KafkaUnavailable):
        journal.append(ANN, lambda _: [Deed(what="enrolled")])
