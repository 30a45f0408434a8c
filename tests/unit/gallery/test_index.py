"""The exact index: the same answer as a plain float64 computation, while templates come and go."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.gallery.index import ExactIndex
from pipeline.gallery.index import exact as index_module
from pipeline.ports import Match, Vector


def unit(rng: np.random.Generator, *shape: int) -> Vector:
    raw = rng.normal(size=shape)
    vectors: Vector = (raw / np.linalg.norm(raw, axis=-1, keepdims=True)).astype(np.float32)
    return vectors


def oracle(gallery: dict[str, tuple[str, Vector]], probe: Vector) -> tuple[str, float, float]:
    """Best payer, similarity and best similarity of any other payer, template by template in float64."""
    best_of: dict[str, float] = {}
    for payer, vector in gallery.values():
        cosine = float(np.dot(vector.astype(np.float64), probe.astype(np.float64)))
        best_of[payer] = max(best_of.get(payer, -2.0), cosine)
    ranked = sorted(best_of.items(), key=lambda item: -item[1])
    return ranked[0][0], ranked[0][1], ranked[1][1] if len(ranked) > 1 else -1.0


def agree(index: ExactIndex, gallery: dict[str, tuple[str, Vector]], probes: Vector) -> None:
    matches = index.search(probes)
    assert index.size == len(gallery)
    assert len(matches) == len(probes)
    for probe, match in zip(probes, matches, strict=True):
        if not gallery:
            assert match is None
            continue
        payer, similarity, runner_up = oracle(gallery, probe)
        assert match is not None
        assert (match.payer_id, gallery[match.template_id][0]) == (payer, payer)
        assert match.similarity == pytest.approx(similarity, abs=1e-12)
        assert match.runner_up == pytest.approx(runner_up, abs=1e-12)


STEPS = st.lists(
    st.tuples(st.sampled_from(["put", "put", "put", "remove"]), st.integers(0, 40), st.integers(0, 9)), max_size=120
)


@given(steps=STEPS, seed=st.integers(0, 2**32 - 1), dimension=st.sampled_from([2, 8, 128]))
def test_the_index_agrees_with_a_plain_computation(
    steps: Sequence[tuple[str, int, int]], seed: int, dimension: int
) -> None:
    """After any sequence of additions, replacements (also by another payer) and removals, the best payer, the
    similarity and the best other payer are those of a float64 computation over all templates."""
    rng = np.random.default_rng(seed)
    index, gallery = ExactIndex(dimension), {}
    for step, template, payer in steps:
        name = f"template-{template}"
        if step == "put":
            gallery[name] = (f"payer-{payer}", unit(rng, dimension))
            index.put(name, *gallery[name])
        else:
            assert index.remove(name) == (gallery.pop(name, None) is not None)
    agree(index, gallery, unit(rng, 3, dimension))


def test_growing_and_shrinking_past_the_first_matrix() -> None:
    """A thousand templates come, most go, others come: the answer stays exact through every copy of the matrix."""
    rng = np.random.default_rng(7)
    index, gallery = ExactIndex(16), {}
    for i in range(1000):
        gallery[f"t{i}"] = (f"p{i % 300}", unit(rng, 16))
        index.put(f"t{i}", *gallery[f"t{i}"])
    agree(index, gallery, unit(rng, 70, 16))
    for i in range(900):
        del gallery[f"t{i}"]
        assert index.remove(f"t{i}")
    agree(index, gallery, unit(rng, 5, 16))
    for i in range(2000, 2300):
        gallery[f"t{i}"] = (f"p{i % 300}", unit(rng, 16))
        index.put(f"t{i}", *gallery[f"t{i}"])
    agree(index, gallery, unit(rng, 5, 16))


def test_memory_follows_what_is_enrolled() -> None:
    """Replacing one template ten thousand times, or adding and removing as many, leaves a small matrix."""
    rng = np.random.default_rng(1)
    index = ExactIndex(8)
    for i in range(10_000):
        index.put("same", "payer", unit(rng, 8))
        index.put(f"t{i}", f"p{i}", unit(rng, 8))
        index.remove(f"t{i}")
    for i in range(5000):
        index.put(f"t{i}", f"p{i}", unit(rng, 8))
    for i in range(5000):
        index.remove(f"t{i}")
    assert index.size == 1
    assert index.bytes_per_template <= 512 * (8 * 5 + 13)
    assert len(index._payers.names) <= 5010


def test_the_best_other_is_another_payer() -> None:
    """Several templates of one payer never count as each other's rivals; alone in a gallery there is no rival."""
    rng = np.random.default_rng(3)
    index, mine = ExactIndex(8), unit(rng, 8)
    for i in range(3):
        index.put(f"mine-{i}", "me", mine)
    (alone,) = index.search(mine[None])
    assert alone is not None
    assert (alone.payer_id, alone.runner_up) == ("me", -1.0)
    index.put("yours", "you", -mine)
    (match,) = index.search(mine[None])
    assert match is not None
    assert match.similarity == pytest.approx(1.0)
    assert match.runner_up == pytest.approx(-1.0)


def test_similarities_are_cosines() -> None:
    """Rounding never gives a value that an event would refuse: identical vectors are at most 1 alike."""
    rng = np.random.default_rng(5)
    vectors = unit(rng, 500, 64)
    index = ExactIndex(64)
    for i, vector in enumerate(vectors):
        index.put(f"t{i}", f"p{i}", vector)
    matches = index.search(vectors)
    assert all(match is not None and -1.0 <= match.runner_up <= match.similarity <= 1.0 for match in matches)


def test_a_result_does_not_depend_on_its_batch() -> None:
    """A probe alone and among 63 others gives the same match to the last bit."""
    rng = np.random.default_rng(11)
    index = ExactIndex(128)
    for i in range(300):
        index.put(f"t{i}", f"p{i}", unit(rng, 128))
    probes = unit(rng, 64, 128)
    together = index.search(probes)
    assert together == [index.search(probe[None])[0] for probe in probes]


@pytest.mark.parametrize(
    "vector",
    [np.zeros(4), np.ones(4), np.array([np.nan, 0, 0, 1]), np.array([np.inf, 0, 0, 0]), np.eye(3)[0], np.eye(4)[:1]],
)
def test_what_is_no_embedding_is_not_put(vector: Vector) -> None:
    """A zero, unnormalised, infinite or misshapen vector raises and changes nothing."""
    index = ExactIndex(4)
    with pytest.raises(ValueError, match="template"):
        index.put("t", "p", vector.astype(np.float32))
    assert index.size == 0


@pytest.mark.parametrize("shape", [(4,), (1, 3), (1, 1, 4)])
def test_misshapen_probes_raise(shape: tuple[int, ...]) -> None:
    """Probes of another shape are a programming error, also while the gallery is empty."""
    with pytest.raises(ValueError, match="probes have shape"):
        ExactIndex(4).search(np.zeros(shape, np.float32))


def test_removed_embeddings_are_wiped() -> None:
    """A removed embedding's numbers are overwritten in memory."""
    rng = np.random.default_rng(2)
    index, vector = ExactIndex(8), unit(rng, 8)
    index.put("t", "p", vector)
    index.remove("t")
    assert not any((segment.vectors == vector).all(axis=1).any() for segment in index._segments.values())


@pytest.mark.parametrize("change", ["replace", "remove", "remove and add"])
def test_a_search_sees_the_gallery_of_one_moment(monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    """What happens to a template after a search has begun does not reach that search, and reaches the next one."""
    rng = np.random.default_rng(4)
    index, (old, new) = ExactIndex(8), unit(rng, 2, 8)
    index.put("t", "payer", old)
    search = index_module.search

    def interrupted(*arguments: Any) -> list[Match | None]:
        monkeypatch.setattr(index_module, "search", search)
        if change != "replace":
            index.remove("t")
        if change != "remove":
            index.put("t", "another", new)
        return search(*arguments)

    monkeypatch.setattr(index_module, "search", interrupted)
    (match,) = index.search(old[None])
    assert match is not None
    assert (match.payer_id, match.runner_up) == ("payer", -1.0)
    assert match.similarity == pytest.approx(1.0)
    (after,) = index.search(new[None])
    assert (after and after.payer_id) == (None if change == "remove" else "another")


def test_searches_run_while_the_gallery_changes() -> None:
    """Two threads search without pause while a third replaces and removes thousands of templates: the payer who stays
    is found by each search, and no search pairs a payer with another's embedding."""
    rng = np.random.default_rng(9)
    dimension, stays = 32, 40
    fixed = {f"fixed-{i}": unit(rng, dimension) for i in range(stays)}
    pool = unit(rng, 64, dimension)
    index = ExactIndex(dimension)
    for name, vector in fixed.items():
        index.put(name, name, vector)
    probes = np.stack(list(fixed.values()))
    done, searches = threading.Event(), [0, 0]
    wrong: list[object] = []

    def search(me: int) -> None:
        while not done.is_set():
            for name, match in zip(fixed, index.search(probes), strict=True):
                if match is None or match.payer_id != name or match.similarity < 1 - 1e-6 or match.runner_up > 0.9:
                    wrong.append((name, match))
            for i, match in enumerate(index.search(pool)):
                if match is not None and match.similarity > 1 - 1e-6 and match.payer_id != f"guest-{i}":
                    wrong.append((i, match))
            searches[me] += 1

    threads = [threading.Thread(target=search, args=(me,)) for me in (0, 1)]
    for thread in threads:
        thread.start()
    for step in range(6000):
        i = step % 64
        index.put(f"guest-{i}-{step % 7}", f"guest-{i}", pool[i])
        index.remove(f"guest-{(i * 7) % 64}-{step % 5}")
        name = f"fixed-{step % stays}"
        index.put(name, name, fixed[name])  # a replacement must never leave a moment without the payer
    done.set()
    for thread in threads:
        thread.join(30)
    assert not wrong
    assert min(searches) > 0
