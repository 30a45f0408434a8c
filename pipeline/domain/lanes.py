"""Which partition a key belongs to: the one partitioner that every producer here uses, as a pure function.

Kafka's Java client hashes keys with murmur2 (Austin Appleby's MurmurHash2, 32 bits, seed 0x9747b28c), clears the sign
bit and takes the rest modulo the partition count; `murmur2_random` of librdkafka and aiokafka's default do the same.
A consumer that knows the lane of a key can tell a record that stands on another one: a producer with another
partitioner, or a copy.
"""

from __future__ import annotations

SEED = 0x9747B28C
MULTIPLIER = 0x5BD1E995
MASK = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """MurmurHash2 as Kafka's Java client computes it, 0 to 2**32 - 1."""
    length = len(data)
    state = (SEED ^ length) & MASK
    whole = length - length % 4
    for start in range(0, whole, 4):
        word = int.from_bytes(data[start : start + 4], "little") * MULTIPLIER & MASK
        word = (word ^ (word >> 24)) * MULTIPLIER & MASK
        state = (state * MULTIPLIER & MASK) ^ word
    tail = data[whole:]
    if tail:
        state = (state ^ int.from_bytes(tail, "little")) * MULTIPLIER & MASK
    state = (state ^ (state >> 13)) * MULTIPLIER & MASK
    return state ^ (state >> 15)


def lane_of(key: bytes, partitions: int) -> int:
    """The partition of a key in a topic of `partitions`."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions
