"""Secrets and what is done with them: keyring, derivation, seals, frames, terminals, receipts, PIN verifiers.

One root of trust, a folder of 32-byte secrets (`keyring`). All other keys are derived from it (`derivation`), so that a
terminal can be given keys that open nothing but its own frames (`credentials`). Knows nothing of Kafka: it turns
bytes and terms into records and back.
"""
