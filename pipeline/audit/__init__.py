"""Checking after the fact: the topics and the ledger replayed against the promises that money rests on.

- `history`: what was recorded, as values: records with their positions and hashes, the ledger's rows
- `loading`: Kafka and the ledger's database -> history
- `invariants`: history -> findings, I1 to I5; pure
- `timeline`: history -> the steps of each payment and the time each stage took; pure
"""
