"""The hot tier over a real Redis: what regulars get, what Redis holds, and what happens when it is wrong or away."""

from __future__ import annotations

import time

import numpy as np
import pytest
import redis

from pipeline.gallery.hot import HotEraser
from pipeline.gallery.hot.layout import Space
from pipeline.gallery.hot.standing import Rule
from pipeline.gallery.search import TieredSearch
from pipeline.keys.keyring import Keyring
from pipeline.local.redis_server import RedisServer
from pipeline.ports import Vector
from pipeline.settings import Hot
from pipeline.settings import Redis as RedisSettings
from tests.integration.gallery.hot.hot_world import (
    DIMENSION,
    MODEL,
    Opened,
    agent,
    client,
    people,
    probes,
    unit,
)
from tests.stack import unique, wait_until

PEOPLE = people(40)


class Clear:
    """The space of a test: vectors stay as they are."""

    def apply(self, vectors: Vector) -> Vector:
        """The same."""
        return vectors


def test_what_one_agent_offers_every_agent_answers_as_the_exact_search_would(url: str, keyring: Keyring) -> None:
    """Payer, template and similarity are those of the exact index; the runner-up bounds the exact one."""
    region = unique("r")
    with agent(url, keyring, PEOPLE, region=region) as one, agent(url, keyring, PEOPLE, region=region) as two:
        one.warm(PEOPLE[:10])
        wait_until(lambda: all(two.answers(person) for person in PEOPLE[:10]), 10, "the other agent's mirror")
        search = TieredSearch(two.index, Clear(), two.tier, ready=lambda: True)
        found, exact = search.search(probes(PEOPLE)), two.index.search(probes(PEOPLE))
        for place, (mine, theirs) in enumerate(zip(found, exact, strict=True)):
            assert mine is not None
            assert theirs is not None
            assert mine.searched == ("hot" if place < 10 else "exact")
            assert (mine.payer_id, mine.template_id) == (theirs.payer_id, theirs.template_id)
            assert mine.similarity == theirs.similarity
            assert mine.runner_up >= theirs.runner_up


def test_a_claim_is_searched_among_the_claimed_alone(url: str, keyring: Keyring) -> None:
    """A hot payer who is not among them is not the answer, and nobody is when nobody is claimed."""
    with agent(url, keyring, PEOPLE, region=unique("r")) as one:
        one.warm(PEOPLE[:2])
        search = TieredSearch(one.index, Clear(), one.tier, ready=lambda: True)
        claimed, nobody, free = search.search(probes([PEOPLE[0]] * 3), [{PEOPLE[1].payer_id}, set(), None])
        assert claimed is not None
        assert claimed.payer_id == PEOPLE[1].payer_id
        assert nobody is None
        assert free is not None
        assert (free.payer_id, free.searched) == (PEOPLE[0].payer_id, "hot")
        with pytest.raises(ValueError, match="1 sets"):
            search.search(probes(PEOPLE[:2]), [None])


def test_spaces_of_another_region_model_or_key_version_never_mix(url: str, keyring: Keyring) -> None:
    """What is hot in one is unknown in the others, and bytes carried over do not open there."""
    keyring.new_version("gallery")
    region = unique("r")
    with agent(url, keyring, PEOPLE, region=region) as one:
        one.warm(PEOPLE[:3])
        others = [
            {"region": unique("r")},
            {"region": region, "model": "cd" * 32},
            {"region": region, "version": 2},
        ]
        for other in others:
            with agent(url, keyring, PEOPLE, **other) as two:  # type: ignore[arg-type]
                wait_until(lambda two=two: two.tier.state == "following", 10, "the mirror")  # type: ignore[misc]
                assert two.tier.mirror.payers == 0
                plain = client(url)
                tag = two.seal.tag(PEOPLE[0].payer_id)
                sealed = plain.hget(one.store.space.keys[0], one.seal.tag(PEOPLE[0].payer_id))
                assert isinstance(sealed, bytes)
                assert two.store.put(tag, sealed)
                two.warm([PEOPLE[1]])
                assert two.tier.mirror.payers == 1
                plain.close()


def test_redis_away_costs_nothing_but_heat(server: RedisServer, keyring: Keyring) -> None:
    """Down at the start, then there, then paused: searches never wait, the mirror goes on, offers are lost."""
    region = unique("r")
    server.stop()
    try:
        with agent(server.address, keyring, PEOPLE, region=region, timeout_ms=50) as one:
            assert slowest(lambda: one.hot(probes(PEOPLE[:1])[0])) < 0.2
            one.tier.offer(PEOPLE[0].payer_id)
            wait_until(lambda: one.tier.idle, 10, "the offer to be given up")
            assert one.tier.state == "cold"
            server.start()
            wait_until(lambda: one.tier.state == "following", 10, "the mirror to follow")
            wait_until(lambda: one.offered(PEOPLE[0]), 10, "a new offer")
            server.pause()
            wait_until(lambda: one.tier.state == "lost", 10, "the loss to be seen")
            assert one.answers(PEOPLE[0])
            assert slowest(lambda: one.tier.offer(PEOPLE[1].payer_id)) < 0.2
            server.resume()
            wait_until(lambda: one.tier.state == "following", 10, "the mirror to follow again")
            wait_until(lambda: one.offered(PEOPLE[1]), 10, "an offer after it")
    finally:
        server.resume()
        server.start()


def slowest(act: object) -> float:
    """The longest of some calls, in seconds."""
    assert callable(act)
    longest = 0.0
    for _ in range(20):
        began = time.monotonic()
        act()
        longest = max(longest, time.monotonic() - began)
    return longest


def test_a_mirror_that_hears_nothing_for_long_forgets(server: RedisServer, keyring: Keyring) -> None:
    """Nobody's vectors stay longer than the tier may keep them."""
    with agent(server.address, keyring, PEOPLE, region=unique("r"), timeout_ms=50, forget_after_s=0.5) as one:
        one.warm(PEOPLE[:1])
        server.pause()
        try:
            wait_until(lambda: one.tier.state == "cold", 10, "the mirror to be emptied")
            assert one.tier.mirror.payers == one.tier.mirror.size == 0
        finally:
            server.resume()
        wait_until(lambda: one.answers(PEOPLE[0]), 10, "the mirror to be read again")


def test_a_flushed_redis_is_colder_and_fills_again(url: str, keyring: Keyring) -> None:
    """Redis is the truth about who is hot: the mirror empties with it."""
    with agent(url, keyring, PEOPLE, region=unique("r")) as one:
        one.warm(PEOPLE[:5])
        plain = client(url)
        plain.flushall()
        wait_until(lambda: one.tier.mirror.payers == 0, 10, "the mirror to be empty")
        one.warm(PEOPLE[3:6])
        assert one.tier.mirror.payers == 3
        # Flushed and written again before the mirror looks.
        pipe = plain.pipeline(transaction=True)
        pipe.flushall()
        tag = one.seal.tag(PEOPLE[0].payer_id)
        pipe.hset(one.store.space.keys[0], tag, b"half of an entry")
        pipe.execute()
        wait_until(lambda: one.tier.mirror.payers == 0, 10, "the mirror to be empty again")
        # Another life of the space that happens to be at the same number.
        one.warm(PEOPLE[:2])
        seq = one.store.position().seq
        pipe = plain.pipeline(transaction=True)
        pipe.flushall()
        pipe.hset(one.store.space.keys[4], mapping={"epoch": "another", "seq": seq})
        pipe.execute()
        wait_until(lambda: one.tier.mirror.payers == 0, 10, "the other epoch to be noticed")
        plain.close()


def test_a_log_that_was_trimmed_sends_the_mirror_to_the_entries(url: str, keyring: Keyring) -> None:
    """Changes whose records are gone are found; so is a record that no script wrote."""
    with agent(url, keyring, PEOPLE, region=unique("r")) as one:
        one.warm(PEOPLE[:2])
        plain, log = client(url), one.store.space.keys[2]
        tag = one.seal.tag(PEOPLE[0].payer_id)
        pipe = plain.pipeline(transaction=True)
        pipe.hdel(one.store.space.keys[0], tag)
        pipe.hincrby(one.store.space.keys[4], "seq", 1)
        pipe.xtrim(log, maxlen=0, approximate=False)
        pipe.execute()
        wait_until(lambda: one.tier.mirror.payers == 1, 10, "the lost record to be noticed")
        # A record is missing in the middle, and the newest one is there.
        seq, other = one.store.position().seq, one.seal.tag(PEOPLE[1].payer_id)
        pipe = plain.pipeline(transaction=True)
        pipe.hdel(one.store.space.keys[0], other)
        pipe.hincrby(one.store.space.keys[4], "seq", 2)
        pipe.xadd(log, {"op": "drop", "tag": "nobody"}, id=f"{seq + 2}-0")
        pipe.execute()
        wait_until(lambda: one.tier.mirror.payers == 0, 10, "the gap to be noticed")
        # One that no script wrote is in the way of all that follow: the log begins anew, also where nobody writes.
        plain.xadd(log, {"op": "put", "tag": "somebody"})
        wait_until(lambda: plain.xlen(log) == 0, 10, "the log to be begun anew")
        one.warm(PEOPLE[:4])
        assert one.tier.mirror.payers == 4
        plain.close()


def test_foreign_bytes_are_refused_and_mended(url: str, keyring: Keyring) -> None:
    """An entry that is garbage, or another payer's, is nobody; a key of another kind is put right by the next put."""
    with agent(url, keyring, PEOPLE, region=unique("r")) as one:
        one.warm(PEOPLE[:2])
        plain, (entries, seen, *_) = client(url), one.store.space.keys
        tags = [one.seal.tag(person.payer_id) for person in PEOPLE[:5]]
        other = plain.hget(entries, tags[1])
        assert other is not None
        plain.hset(entries, tags[2], b"garbage")
        plain.hset(entries, tags[3], other)
        plain.hset(entries, "no tag", b"")
        for tag in tags[2:4]:
            one.store.touch(tag)
        plain.hincrby(one.store.space.keys[4], "seq", 5)
        wait_until(lambda: one.tier.silent_s < 0.05 and one.tier.mirror.payers == 2, 10, "the mirror to have looked")
        assert one.answers(PEOPLE[0])
        assert not one.answers(PEOPLE[2])
        assert not one.answers(PEOPLE[3])
        # Neither a time nor an entry stays alone: no age would end it.
        assert one.store.tidy() == 1
        plain.zadd(seen, {"nobody": time.time() * 1000})
        assert one.store.tidy() == 0
        assert plain.hlen(entries) == plain.zcard(seen) == 4
        plain.delete(entries)
        plain.set(entries, b"no hash")
        one.warm(PEOPLE[4:5])
        assert one.tier.mirror.payers == 1
        plain.close()


def test_the_tier_is_bounded_by_size_and_age(url: str, keyring: Keyring) -> None:
    """The payers unseen for longest go first; a sighting keeps; age ends everybody."""
    with agent(url, keyring, PEOPLE, region=unique("r"), max_payers=3) as one:
        for person in PEOPLE[:3]:
            one.warm([person])
        one.tier.offer(PEOPLE[0].payer_id)
        wait_until(lambda: one.tier.idle, 10, "the sighting")
        one.warm([PEOPLE[3]])
        hot = {payer_id for _, payer_id in one.tier.mirror.hot()}
        assert hot == {PEOPLE[number].payer_id for number in (0, 2, 3)}
    with agent(url, keyring, PEOPLE, region=unique("r"), max_age_s=1) as one:
        one.warm(PEOPLE[:2])
        # Each mirror tidies once a minute; the test does not wait for that.
        wait_until(lambda: one.store.tidy() >= 0 and not one.tier.mirror.payers, 10, "their age, and the mirror's word")
        # A space that nobody writes to ends by itself.
        plain = client(url)
        for key in one.store.space.keys:
            assert plain.pttl(key) != -1
        plain.close()


def test_templates_that_change_are_written_again_and_newcomers_are_heeded(url: str, keyring: Keyring) -> None:
    """A new template of a hot payer comes into the mirrors; a newcomer who looks like one is compared with."""
    region = unique("r")
    with agent(url, keyring, PEOPLE, region=region) as one:
        one.warm(PEOPLE[:2])
        person = PEOPLE[0]
        vector = probes([person], seed=9)[0]
        one.index.put("a new one", person.payer_id, vector)
        one.tier.put(Opened(person.payer_id, vector))
        wait_until(lambda: "a new one" in one.tier.mirror.template_ids(person.payer_id), 10, "the new template")
        wait_until(lambda: one.answers(person), 10, "its neighbours to be counted")
        twin = unit(PEOPLE[1].vectors + 0.03 * np.random.default_rng(5).normal(size=(2, DIMENSION)))
        for number, looks in enumerate(twin):
            one.index.put(f"twin.{number}", "twin", looks)
            one.tier.put(Opened("twin", looks))
        assert not one.answers(PEOPLE[1])
        wait_until(lambda: one.answers(person), 10, "the others to be answered again")
        between = unit(PEOPLE[1].vectors[:1] + twin[:1])[0]
        assert one.hot(between) is None


def test_an_answer_that_differs_is_replaced_and_stops_the_tier(url: str, keyring: Keyring) -> None:
    """With a rule that lets everything stand, the verified answer is the exact one, and no other is hot."""
    blind = Rule(margin=0.0, limit=1e9, mean=1e9, nearest=0)
    twin = people(1, seed=3, name="twin")
    strangers = [*PEOPLE, *twin]
    region = unique("r")
    with agent(url, keyring, strangers, region=region, rule=blind, verify_share=1.0) as one:
        one.warm(PEOPLE[:2])
        near = unit(twin[0].vectors[:1] + 0.9 * PEOPLE[0].vectors[:1])
        exact = one.index.search(near)[0]
        found = one.tier.search(near)[0]
        assert exact is not None
        assert exact.payer_id == twin[0].payer_id
        # The index, asked for the hot payer alone, does not see the twin: only the check does.
        assert found == exact
        assert one.tier.suspended
        assert one.tier.search(probes(PEOPLE[:1])) == [None]


def test_the_erased_are_gone_from_redis_and_from_every_mirror(url: str, keyring: Keyring) -> None:
    """Also from spaces of other versions; an agent that has not heard of the erasure cannot put them again."""
    keyring.new_version("gallery")
    region = unique("r")
    with (
        agent(url, keyring, PEOPLE, region=region, version=2) as one,
        agent(url, keyring, PEOPLE, region=region, version=1) as old,
    ):
        one.warm(PEOPLE[:2])
        old.warm(PEOPLE[:1])
        eraser = HotEraser(RedisSettings(url=url), Hot(region=region), keyring, model_sha256=MODEL)
        assert eraser.holds(PEOPLE[0].payer_id)
        assert eraser.erase(PEOPLE[0].payer_id) >= 2
        assert not eraser.holds(PEOPLE[0].payer_id)
        wait_until(lambda: not (one.answers(PEOPLE[0]) or old.answers(PEOPLE[0])), 2, "both mirrors to forget")
        # Its index still has the payer: a put is refused.
        one.tier.offer(PEOPLE[0].payer_id)
        wait_until(lambda: one.tier.idle, 10, "the offer")
        assert not eraser.holds(PEOPLE[0].payer_id)
        assert one.answers(PEOPLE[1])
        assert eraser.erase(PEOPLE[0].payer_id) >= 2


def test_an_erasure_that_did_not_reach_redis_is_made_good(url: str, keyring: Keyring) -> None:
    """The agent that hears of it from the gallery takes the entry out; one that starts later does so too."""
    region = unique("r")
    with agent(url, keyring, PEOPLE, region=region) as one:
        one.warm(PEOPLE[:3])
        one.forget(PEOPLE[0])
        assert PEOPLE[0].payer_id not in {payer_id for _, payer_id in one.tier.mirror.hot()}
        wait_until(lambda: not one.store.holds(one.seal.tag(PEOPLE[0].payer_id)), 10, "the entry to go")
        assert one.store.holds(one.seal.tag(PEOPLE[1].payer_id))
    with agent(url, keyring, PEOPLE[2:], region=region) as two:
        wait_until(lambda: two.tier.state == "following" and two.tier.mirror.payers == 1, 10, "the mirror")
        assert not two.answers(PEOPLE[1])


def test_a_payer_with_a_lookalike_never_answers_hot(url: str, keyring: Keyring) -> None:
    """Flagged in the exact index: the exact search says so, and the vote asks for a PIN."""
    with agent(url, keyring, PEOPLE, region=unique("r")) as one:
        one.warm(PEOPLE[:2])
        person = PEOPLE[0]
        one.index.put_many(person.template_ids, [person.payer_id] * 2, person.vectors, np.ones(2, np.bool_))
        assert not one.answers(person)
        assert one.answers(PEOPLE[1])


def test_a_space_whose_key_is_gone_is_removed_by_an_erasure(url: str, keyring: Keyring) -> None:
    """Nobody can read it, or say whether somebody is in it."""
    region = unique("r")
    lost = Space(region, MODEL, 7)
    plain: redis.Redis = client(url)
    plain.hset(lost.keys[0], "tag", b"sealed under a key that nobody has")
    HotEraser(RedisSettings(url=url), Hot(region=region), keyring, model_sha256=MODEL).erase("anybody")
    assert not plain.exists(*lost.keys)
    plain.close()


def test_offers_beyond_the_queue_are_dropped_and_repeats_are_not_written(url: str, keyring: Keyring) -> None:
    """A payer seen again within the minute costs nothing."""
    with agent(url, keyring, PEOPLE, region=unique("r"), refresh_s=60.0) as one:
        one.warm(PEOPLE[:1])
        before = one.store.position().seq
        for _ in range(100):
            one.tier.offer(PEOPLE[0].payer_id)
        one.warm(PEOPLE[1:2])
        assert one.store.position().seq == before + 1
