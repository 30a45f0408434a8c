"""Records of the gallery's topics: written and confirmed, and the living ones of one payer found."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from pipeline.errors import InvalidMessage, KafkaUnavailable
from pipeline.runtime.reader import read_topic
from pipeline.settings import Kafka
from schemas.codec import decode, encode
from schemas.events import Event, GalleryTemplate

CONFIRM_S = 30.0


def write(
    producer: Producer, topic: str, records: Sequence[tuple[str, Event | None]], *, attempt: str
) -> dict[int, int]:
    """Writes records (key, event or None for a tombstone) and returns when Kafka has confirmed each: by partition, the
    offset behind them. Raises `KafkaUnavailable`; `attempt` begins its sentence."""
    failed: list[KafkaError] = []
    confirmed = 0
    behind: dict[int, int] = {}

    def delivered(error: KafkaError | None, message: Message) -> None:
        nonlocal confirmed
        if error is not None:
            failed.append(error)
            return
        confirmed += 1
        partition, offset = message.partition() or 0, message.offset() or 0
        behind[partition] = max(behind.get(partition, 0), offset + 1)

    try:
        for key, event in records:
            value = None if event is None else encode(event)
            producer.produce(topic, value, key=key.encode(), on_delivery=delivered)
    except (BufferError, KafkaException) as error:
        raise KafkaUnavailable(f"{attempt}: writing to the topic {topic} failed: {error}; do it again") from None
    deadline = time.monotonic() + CONFIRM_S
    while confirmed + len(failed) < len(records) and time.monotonic() < deadline:
        producer.poll(0.1)
    if confirmed < len(records):
        why = failed[0].str() if failed else f"no answer within {CONFIRM_S:.0f} s"
        raise KafkaUnavailable(
            f"{attempt}: {len(records) - confirmed} of {len(records)} records for the topic {topic} were not confirmed "
            f"({why}); do it again, the ids stay the same"
        )
    return behind


class PayersTemplates:
    """The living templates of some payers, found by reading the gallery's topic to its end; `update` reads on."""

    def __init__(self, kafka: Kafka, topic: str, payer_ids: Sequence[str]) -> None:
        self._kafka = kafka
        self._topic = topic
        self._payer_ids = frozenset(payer_ids)
        # A look at the bytes tells what need not be decoded: nearly everything.
        self._spelled = [payer_id.encode() for payer_id in payer_ids]
        self._read: dict[int, int] = {}
        self.found: dict[str, GalleryTemplate] = {}
        self.ever: set[str] = set()
        """Ids of all their templates that were read, also of those that are gone."""

    def update(self) -> Mapping[str, GalleryTemplate]:
        """What lives at the topic's end of now, by template id; raises `KafkaUnavailable`."""
        for message in read_topic(self._kafka, self._topic, read_committed=False, offsets=self._read):
            self._read[message.partition] = message.offset + 1
            key = (message.key or b"").decode("utf-8", errors="replace")
            template = self._of_them(message.value)
            if template is not None and template.template_id == key:
                self.found[key] = template
                self.ever.add(key)
            else:
                self.found.pop(key, None)
        return self.found

    def _of_them(self, value: bytes | None) -> GalleryTemplate | None:
        if value is None or not any(spelled in value for spelled in self._spelled):
            return None
        try:
            template = decode(value, GalleryTemplate)
        except InvalidMessage:
            return None
        return template if template.payer_id in self._payer_ids else None
