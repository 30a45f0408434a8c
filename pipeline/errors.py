"""The error tree: what went wrong, whose fault it is, and the exit code that follows.

Each message is one sentence that says what was tried, what was found and what to do. Messages never hold secrets,
faces, embeddings, PINs or names of people. The command line maps the classes to exit codes: 2 wrong use, 3 the
outside failed; a check that answers "no" is not an error and exits 1.
"""

from __future__ import annotations


class FacepayError(Exception):
    """Base of every error this project raises on purpose."""

    exit_code = 3


class UsageError(FacepayError):
    """The caller asked for something that cannot be: a wrong option, path, address or setting."""

    exit_code = 2


class SettingsError(UsageError):
    """A setting is missing, malformed or contradicts another."""


class OutsideError(FacepayError):
    """Something outside this process failed: Kafka, Redis, a database, a GPU, a file, the network."""


class KafkaUnavailable(OutsideError):
    """Kafka cannot be reached, or a topic that must exist does not."""


class RedisUnavailable(OutsideError):
    """Redis cannot be reached within its time budget."""


class LedgerError(OutsideError):
    """The ledger's database refused or contradicts Kafka."""


class LedgerMismatch(LedgerError):
    """The ledger belongs to another Kafka cluster or topic, or is behind what Kafka has emitted."""


class Fenced(LedgerError):
    """Another owner has taken this lane: this process is a zombie and must end."""


class ModelError(OutsideError):
    """A model file is absent, has another hash, or does not keep its contract."""


class DownloadError(OutsideError):
    """A download failed, was cut off, or did not match its pinned hash."""


class InvalidMessage(FacepayError):
    """A record that can never be processed: it goes to the dead letter with `reason`, and its neighbours go on.

    `reason` is a short stable code (`not_json`, `wrong_type`, `unknown_terminal`, `seal_broken`, ...), `detail` one
    sentence for the operator. Neither may repeat the record's content.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class DecodeError(InvalidMessage):
    """Bytes that are not the event they should be; `detail` names the path of the field."""


class DataKeyError(UsageError):
    """No data key is made for this payer or version any more.

    `reason`: `payer_erased` (the payer's keys were destroyed; the id is never used again) or `version_retired` (a
    re-key went past that gallery version).
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class SealError(InvalidMessage):
    """A sealed frame that does not open, or opens for another terminal, intent or time."""
