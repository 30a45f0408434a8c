"""The agents: one thin module each; `AGENTS` says how each meets Kafka. No rule lives here."""

from __future__ import annotations

AGENTS: dict[str, str] = {
    "embedding": "sealed frames in, recognitions and hints out (confluent-kafka batches)",
    "fraud": "recognitions in, verdicts out (Faust)",
    "settlement": "commands and verdicts in, settlements out exactly once (Kafka transactions and the ledger)",
}
"""Name and what it does; `pipeline.bootstrap` wires each."""
