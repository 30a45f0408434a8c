"""The gallery of a process: the compacted topic `gallery`, read from its beginning and followed, in an index.

A record is either a template or, with a null value, the tombstone of the template that its key names. What cannot be
matched is refused with a reason, counted, and never searched: a template of another embedding model (its cosines would
mean nothing), one sealed under another key, one that is no embedding. A refused record also takes out an older template
of its key, as compaction would: a process that starts later must see the same gallery.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from pipeline import metrics
from pipeline.errors import InvalidMessage
from pipeline.gallery.index import ExactIndex
from pipeline.gallery.templates import open_template
from pipeline.keys.keyring import Keyring
from pipeline.ports import InMessage, Match, Vector
from pipeline.runtime.reader import TopicReader
from pipeline.settings import Kafka
from pipeline.topics import GALLERY
from schemas.codec import decode
from schemas.events import GalleryTemplate


class GalleryReader:
    """`ports.GallerySearch` over the enrolled gallery; `start` it, and search once it is `ready`."""

    def __init__(
        self, kafka: Kafka, keyring: Keyring, index: ExactIndex, model_sha256: str, *, topic: str = GALLERY
    ) -> None:
        self._keyring = keyring
        self._index = index
        self._model_sha256 = model_sha256
        self._refused: Counter[str] = Counter()
        self._reader = TopicReader(kafka, [topic], self.apply, name="gallery")

    def start(self) -> None:
        """Begins to read in a thread of its own."""
        self._reader.start()

    def stop(self) -> None:
        """Ends reading; what was read stays searchable."""
        self._reader.stop()

    def wait_ready(self, timeout_s: float) -> bool:
        """Waits until the gallery was read to its end; False if that took longer."""
        return self._reader.wait_caught_up(timeout_s)

    @property
    def ready(self) -> bool:
        """Whether the gallery was read up to its end once."""
        return self._reader.caught_up

    @property
    def size(self) -> int:
        """Number of templates searched."""
        return self._index.size

    @property
    def refused(self) -> Mapping[str, int]:
        """How many records were refused, by reason."""
        return dict(self._refused)

    def search(self, probes: Vector) -> Sequence[Match | None]:
        """See `ExactIndex.search`."""
        return self._index.search(probes)

    def apply(self, message: InMessage) -> None:
        """Takes over one record; raises `InvalidMessage` for one that is refused."""
        key = (message.key or b"").decode("utf-8", errors="replace")
        if message.value is None:
            self._index.remove(key)
            return
        try:
            template, vector = self._opened(key, message.value)
        except InvalidMessage as refused:
            self._index.remove(key)
            self._refused[refused.reason] += 1
            metrics.REJECTS.labels("gallery", refused.reason).inc()
            raise
        self._index.put(template.template_id, template.payer_id, vector)

    def _opened(self, key: str, value: bytes) -> tuple[GalleryTemplate, Vector]:
        template = decode(value, GalleryTemplate)
        if template.template_id != key:
            raise InvalidMessage("wrong_key", "the record's key is not its template: no tombstone could remove it")
        if template.model_sha256 != self._model_sha256:
            raise InvalidMessage("another_model", "the template belongs to another embedding model")
        vector = open_template(self._keyring, template)
        if vector.shape != (self._index.dimension,):
            raise InvalidMessage("vector_invalid", "the embedding has another length than the model's")
        return template, vector
