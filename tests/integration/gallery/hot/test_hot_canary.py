"""What somebody who steals a Redis can read of faces and payers: nothing.

People with known vectors pay, are seen again, change and are erased; then everything that Redis holds or has written is
searched for their vectors, in every form that a vector may take, and for their ids. The search is tried on a planted
canary first: it would find one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from pipeline.gallery.hot import HotEraser
from pipeline.keys.keyring import Keyring
from pipeline.local.redis_server import RedisServer
from pipeline.ports import Vector
from pipeline.settings import Hot
from pipeline.settings import Redis as RedisSettings
from tests.integration.gallery.hot.hot_world import (
    MODEL,
    Opened,
    Person,
    agent,
    client,
    people,
    probes,
)
from tests.stack import unique, wait_until

PEOPLE = people(8, seed=11, name="canary-payer")
PIECE = 16
"""Bytes in a row of a vector that count as found: a compressed or split copy shows no longer ones, and random bytes
show these once in 2^128."""


def forms(vector: Vector) -> Iterator[bytes]:
    """A vector's bytes as floats of 4, 2 and 8 bytes in both orders, and as 8-bit codes of usual scales."""
    for kind in ("<f4", ">f4", "<f2", ">f2", "<f8"):
        yield vector.astype(kind).tobytes()
    for scale in (127.0, 128.0, 127.0 / float(np.abs(vector).max())):
        yield np.clip(np.rint(vector * scale), -128, 127).astype(np.int8).tobytes()
    yield " ".join(f"{number:.4f}" for number in vector).encode()


def found(some: list[Person], haystack: bytes) -> list[str]:
    """Whose vectors or ids are in some bytes."""
    hits: list[str] = []
    for person in some:
        if person.payer_id.encode() in haystack or any(name.encode() in haystack for name in person.template_ids):
            hits.append(f"id of {person.payer_id}")
        for vector in person.vectors:
            for form in forms(vector):
                middle = len(form) // 2
                pieces = (form[:PIECE], form[middle : middle + PIECE], form[-PIECE:])
                if any(piece in haystack for piece in pieces):
                    hits.append(f"vector of {person.payer_id}")
    return hits


def everything(server: RedisServer) -> bytes:
    """All keys and values as Redis gives them (DUMP and plainly), and all files that it has written."""
    plain: Any = client(server.address)
    parts: list[bytes] = []
    for key in plain.scan_iter(count=1000):
        parts += [key, plain.dump(key) or b""]
        kind = plain.type(key)
        if kind == b"hash":
            parts += [piece for pair in plain.hgetall(key).items() for piece in pair]
        elif kind == b"string":
            parts.append(plain.get(key) or b"")
        elif kind == b"zset":
            parts += plain.zrange(key, 0, -1)
        elif kind == b"stream":
            parts += [repr(record).encode() for record in plain.xrange(key)]
    plain.save()
    plain.close()
    parts += [path.read_bytes() for path in sorted(server.folder.rglob("*")) if path.is_file()]
    return b"\n".join(parts)


def test_nothing_that_redis_holds_or_writes_tells_a_vector_or_a_payer(server: RedisServer, keyring: Keyring) -> None:
    """Neither in memory nor in the append-only file nor in the dump, also of people who were erased."""
    region = unique("canary")
    eraser = HotEraser(RedisSettings(url=server.address), Hot(region=region), keyring, model_sha256=MODEL)
    with agent(server.address, keyring, PEOPLE, region=region) as one:
        one.warm(PEOPLE)
        one.tier.search(probes(PEOPLE))
        vector = probes(PEOPLE[:1], seed=4)[0]
        one.index.put("canary-payer-0.2", PEOPLE[0].payer_id, vector)
        one.tier.put(Opened(PEOPLE[0].payer_id, vector))
        wait_until(lambda: len(one.tier.mirror.template_ids(PEOPLE[0].payer_id)) == 3, 10, "the new template")
        eraser.erase(PEOPLE[1].payer_id)
        assert one.store.holds(one.seal.tag(PEOPLE[0].payer_id))
        stolen = everything(server)
    assert len(stolen) > 8 * 2 * 64 * 4, "the entries themselves are among what is searched"
    assert one.seal.tag(PEOPLE[0].payer_id).encode() in stolen
    assert found(PEOPLE, stolen) == []


@pytest.mark.parametrize("form", range(len(list(forms(PEOPLE[0].vectors[0])))))
def test_a_planted_vector_would_be_found(server: RedisServer, form: int) -> None:
    """Stored in clear under any of the forms, in a field of a hash as the tier would."""
    key = unique("planted")
    plain: Any = client(server.address)
    plain.hset(key, "tag", b"head" + list(forms(PEOPLE[2].vectors[1]))[form] + b"tail")
    try:
        assert found(PEOPLE, everything(server)) == [f"vector of {PEOPLE[2].payer_id}"]
    finally:
        plain.delete(key)
        # The append-only file would remember it for the next test.
        plain.config_set("auto-aof-rewrite-percentage", 0)
        plain.bgrewriteaof()
        wait_until(lambda: not plain.info("persistence")["aof_rewrite_in_progress"], 20, "the file to be rewritten")
        plain.close()
