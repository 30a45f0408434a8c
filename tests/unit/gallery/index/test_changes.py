"""Templates come and go while searches run: what a search sees, what is overwritten, what memory is given back."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.gallery.index import ExactIndex
from pipeline.gallery.index import exact as index_module
from pipeline.gallery.index.search import search as plain_search
from pipeline.gallery.index.segments import FIRST_ROWS, SEGMENT_ROWS, Arrays, Segment
from pipeline.ports import Match, Vector
from tests.unit.gallery.index.galleries import KERNELS, Gallery, filled, kernel, oracle, unit


def agree(index: ExactIndex, gallery: Gallery, probes: Vector) -> None:
    """The index answers as the oracle does, and knows its size."""
    assert index.size == len(gallery)
    assert index.payers == len({payer for payer, _ in gallery.values()})
    assert list(index.search(probes)) == oracle(gallery, probes)


KINDS = ["put", "put", "put", "put", "remove", "remove payer"]
STEPS = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 40), st.integers(0, 9)), max_size=120)


@given(steps=STEPS, seed=st.integers(0, 2**32 - 1), dimension=st.sampled_from([2, 128]))
@settings(max_examples=40)
def test_the_index_agrees_with_a_plain_computation(
    steps: Sequence[tuple[str, int, int]], seed: int, dimension: int
) -> None:
    """After any sequence of additions, replacements (also by another payer) and removals, of templates and of payers,
    every answer is the oracle's."""
    rng = np.random.default_rng(seed)
    index = ExactIndex(dimension)
    gallery: dict[str, tuple[str, Vector]] = {}
    for step, template, payer in steps:
        name = f"template-{template}"
        if step == "put":
            gallery[name] = (f"payer-{payer}", unit(rng, dimension))
            index.put(name, *gallery[name])
        elif step == "remove":
            assert index.remove(name) == (gallery.pop(name, None) is not None)
        else:
            gone = [name for name, (owner, _) in gallery.items() if owner == f"payer-{payer}"]
            assert index.remove_payer(f"payer-{payer}") == len(gone)
            for name in gone:
                del gallery[name]
    agree(index, gallery, unit(rng, 3, dimension))
    for payer in range(10):
        held = {name: vector for name, (owner, vector) in gallery.items() if owner == f"payer-{payer}"}
        templates = index.templates_of(f"payer-{payer}")
        assert [name for name, _ in templates] == sorted(held)
        assert all((vector == held[name]).all() for name, vector in templates)
    assert {name for name in (f"template-{i}" for i in range(41)) if index.holds(name)} == set(gallery)


def test_growing_and_shrinking_past_the_first_matrix() -> None:
    """A thousand templates come, most go, others come: the answer stays exact through every copy of the matrix."""
    rng = np.random.default_rng(7)
    index = ExactIndex(16)
    gallery: dict[str, tuple[str, Vector]] = {}
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
    for i in range(3000):
        index.put("same", "payer", unit(rng, 8))
        index.put(f"t{i}", f"p{i}", unit(rng, 8))
        index.remove(f"t{i}")
    assert len(index._payers.names) <= 2
    rooms = [segment.room for segment in index._segments.values()]
    assert sum(rooms) <= 2 * FIRST_ROWS
    names = [f"t{i}" for i in range(SEGMENT_ROWS + 5000)]
    index.put_many(names, names, unit(rng, len(names), 8))
    for name in names:
        index.remove(name)
    assert index.size == 1
    assert sum(segment.room for segment in index._segments.values()) <= 2 * FIRST_ROWS


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


@pytest.mark.parametrize("change", [[0.0, np.nan], [np.inf, 0.0]])
def test_probes_that_are_no_numbers_raise(change: list[float]) -> None:
    """A broken model must not decide who pays."""
    index = filled(ExactIndex(2), {"t": ("p", np.array([1.0, 0.0], np.float32))})
    with pytest.raises(ValueError, match="not finite"):
        index.search(np.array([change], np.float32))
    with pytest.raises(ValueError, match="not finite"):
        index.search_payers(np.array(change, np.float32), ["p"])


def test_bulk_is_refused_as_a_whole() -> None:
    """One bad vector or one id too few, and nothing is put."""
    index, vectors = ExactIndex(4), unit(np.random.default_rng(1), 3, 4)
    with pytest.raises(ValueError, match="ids"):
        index.put_many(["a", "b"], ["p", "p"], vectors)
    with pytest.raises(ValueError, match="ids"):
        index.put_many(["a", "b", "c"], ["p", "p"], vectors)
    vectors[2] = np.nan
    with pytest.raises(ValueError, match="length 1"):
        index.put_many(["a", "b", "c"], ["p", "p", "p"], vectors)
    assert index.size == 0


def nowhere(index: ExactIndex, vectors: Vector, kept: Iterable[Segment]) -> bool:
    """Whether neither vectors nor codes nor ids of removed templates are in these segments."""
    lengths = [int((segment.vectors != 0).any(axis=1).sum()) for segment in index._segments.values()]
    codes = [int((segment.codes != 0).any(axis=1).sum()) for segment in index._segments.values()]
    halves = [int((segment.halves != 0).any(axis=1).sum()) for segment in index._segments.values()]
    names = [name for segment in index._segments.values() for name in segment.names if name]
    return max(sum(lengths), sum(codes), sum(halves), len(names)) <= index.size and not any(
        (segment.vectors[:, None] == vectors).all(axis=2).any() for segment in kept
    )


@pytest.mark.parametrize("name", KERNELS)
def test_removed_embeddings_are_wiped(name: str) -> None:
    """Vector, codes and id are overwritten in memory: of a template removed, of one replaced, and of those that lay in
    an array which was given up, there as well."""
    rng = np.random.default_rng(2)
    index = ExactIndex(8, kernel=kernel(name, 8))
    vectors = unit(rng, 700, 8)
    kept = []
    for i, vector in enumerate(vectors):
        index.put(f"t{i}", f"p{i}", vector)
        kept.append(index._segments[0])
    index.put("t0", "p0", unit(rng, 8))
    for i in range(1, 690):
        index.remove(f"t{i}")
        kept.append(index._segments[0])
    assert nowhere(index, vectors[:690], list({id(segment): segment for segment in kept}.values()))


def test_wiping_waits_for_searches_that_began_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search in flight may still read what was removed after it began; when it has ended, that is overwritten, though
    a later search is still running."""
    rng = np.random.default_rng(6)
    index, vector = ExactIndex(8), unit(rng, 8)
    index.put("t", "p", vector)
    index.put("other", "q", unit(rng, 8))
    segment = index._segments[0]
    with index._view():
        index.remove("t")
        assert (segment.vectors[0] == vector).all()
        later = index._view()
        later.__enter__()
    assert not segment.vectors[0].any()
    later.__exit__(None, None, None)
    assert index._payers.names[0] == ""


@pytest.mark.parametrize("change", ["replace", "remove", "remove and add"])
def test_a_search_sees_the_gallery_of_one_moment(monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    """What happens to a template after a search has begun does not reach that search, and reaches the next one."""
    rng = np.random.default_rng(4)
    index, (old, new) = ExactIndex(8), unit(rng, 2, 8)
    index.put("t", "payer", old)

    def interrupted(*arguments: Any) -> list[Match | None]:
        monkeypatch.setattr(index_module, "search", plain_search)
        if change != "replace":
            index.remove("t")
        if change != "remove":
            index.put("t", "another", new)
        return plain_search(*arguments)

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
    for step in range(1500):
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


def test_a_search_may_be_restricted_to_some_payers() -> None:
    """A claim's candidates: best and best other among them alone, exactly; unknown ones do not count."""
    rng = np.random.default_rng(8)
    gallery = {f"t{i}": (f"p{i % 50}", vector) for i, vector in enumerate(unit(rng, 200, 16))}
    index = filled(ExactIndex(16), gallery)
    for among in (["p1"], ["p1", "p2", "p1"], [f"p{i}" for i in range(30)], ["p3", "nobody"]):
        probe = unit(rng, 16)
        some = {name: held for name, held in gallery.items() if held[0] in among}
        assert [index.search_payers(probe, among)] == oracle(some, probe[None])
        assert index.size_of(among) == len(some)
    assert index.search_payers(unit(rng, 16), ["nobody"]) is None
    assert index.search_payers(unit(rng, 16), []) is None
    assert index.payer_of("t7") == "p7"
    assert index.payer_of("nobody") is None


def test_a_lookalike_is_said_with_the_match() -> None:
    """The flag of the template that matched, whichever way it was put."""
    rng = np.random.default_rng(9)
    index, vectors = ExactIndex(8), unit(rng, 3, 8)
    index.put("a", "p", vectors[0], lookalike=True)
    index.put_many(["b", "c"], ["q", "r"], vectors[1:], np.array([False, True]))
    assert [match and match.lookalike for match in index.search(vectors)] == [True, False, True]
    index.put("a", "p", vectors[0])
    match = index.search_payers(vectors[0], ["p"])
    assert match is not None
    assert not match.lookalike


def test_a_dump_is_of_one_moment_and_loads_again(tmp_path: Path) -> None:
    """Parts asked for later still show the gallery of the first; another index holds the same."""
    rng = np.random.default_rng(10)
    gallery = {f"t{i}": (f"p{i % 7000}", vector) for i, vector in enumerate(unit(rng, SEGMENT_ROWS + 300, 8))}
    index = filled(ExactIndex(8), gallery)
    index.remove("t5")
    del gallery["t5"]
    parts = index.dump_parts()
    first = next(parts)
    index.remove("t6")
    index.put("t7", "another", unit(rng, 8))
    dumped = [first, *parts]
    held = {
        name: (payer, vector)
        for part in dumped
        for name, payer, vector in zip(part.template_ids, part.payer_ids, part.vectors, strict=True)
    }
    assert sum(map(len, dumped)) == len(gallery)
    assert all(held[name][0] == payer and (held[name][1] == vector).all() for name, (payer, vector) in gallery.items())
    whole = index.dump()
    assert isinstance(whole, Arrays)
    again = ExactIndex(8, folder=tmp_path)
    again.load(whole)
    probes = unit(rng, 5, 8)
    assert list(again.search(probes)) == list(index.search(probes))
    assert not list(tmp_path.iterdir()), "a file of vectors has a name"


def test_half_precision_is_exact_for_the_vectors_as_rounded() -> None:
    """What is stored is what is compared, and what a dump gives back."""
    rng = np.random.default_rng(12)
    vectors = unit(rng, 400, 32)
    index = ExactIndex(32, stored="float16")
    gallery = {f"t{i}": (f"p{i}", vector.astype(np.float16).astype(np.float32)) for i, vector in enumerate(vectors)}
    filled(index, {f"t{i}": (f"p{i}", vector) for i, vector in enumerate(vectors)})
    agree(index, gallery, unit(rng, 6, 32))
    assert index.dump().vectors.dtype == np.float16
    assert (index.templates_of("p3")[0][1] == gallery["t3"][1]).all()


@pytest.mark.parametrize("name", KERNELS)
def test_neighbours_are_counted_by_similarity(name: str) -> None:
    """Never fewer above an edge than there are, its own payer's templates left out, and no more than the scan's error
    can add."""
    rng = np.random.default_rng(13)
    vectors = unit(rng, 600, 64)
    gallery = {f"t{i}": (f"p{i // 2}", vector) for i, vector in enumerate(vectors)}
    index = filled(ExactIndex(64, kernel=kernel(name, 64)), gallery)
    index.remove("t9")
    edges = np.linspace(-1, 1, 41, dtype=np.float32)
    counts = index.histogram(vectors[:6], [f"p{i // 2}" for i in range(6)], edges)
    for i, row in enumerate(counts):
        similar = vectors.astype(np.float64) @ vectors[i].astype(np.float64)
        others = np.array([number // 2 != i // 2 and number != 9 for number in range(600)])
        assert row.sum() == others.sum()
        above = np.array([(similar[others] >= edge).sum() for edge in edges[:-1]])
        counted = row[::-1].cumsum()[::-1]
        assert (counted >= above).all()
        assert (counted <= np.array([(similar[others] >= edge - 0.06).sum() for edge in edges[:-1]])).all()
