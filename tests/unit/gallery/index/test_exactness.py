"""The answer is that of the oracle to the last bit, whatever scans: hostile galleries, ties, batches of any size."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.gallery.index import ExactIndex
from pipeline.gallery.index.codes import Coder, Probes
from pipeline.ports import Vector
from tests.unit.gallery.index.galleries import KERNELS, filled, kernel, of_length_1, oracle, unit

Rng = np.random.Generator


def one_crowd(rng: Rng, rows: int, dimension: int) -> Vector:
    """Everybody looks nearly like everybody: closer together than a code can tell."""
    return of_length_1(unit(rng, 1, dimension) + rng.normal(scale=1e-4, size=(rows, dimension)))


def few_faces(rng: Rng, rows: int, dimension: int) -> Vector:
    """Three vectors, again and again: nothing but ties."""
    return unit(rng, 3, dimension)[rng.integers(3, size=rows)]


def all_equal(rng: Rng, rows: int, dimension: int) -> Vector:
    """One vector."""
    return np.repeat(unit(rng, 1, dimension), rows, axis=0)


def along_axes(rng: Rng, rows: int, dimension: int) -> Vector:
    """All the length in one component, which a code cuts off."""
    vectors = np.zeros((rows, dimension), np.float32)
    vectors[np.arange(rows), rng.integers(dimension, size=rows)] = rng.choice([-1.0, 1.0], size=rows)
    return vectors


DRAWN: Mapping[str, Callable[[Rng, int, int], Vector]] = {
    "independent": unit,
    "one crowd": one_crowd,
    "few faces": few_faces,
    "all equal": all_equal,
    "along axes": along_axes,
}


@pytest.mark.parametrize("name", KERNELS)
@settings(max_examples=40)
@given(
    kind=st.sampled_from(sorted(DRAWN)),
    rows=st.integers(1, 90),
    payers=st.integers(1, 12),
    dimension=st.sampled_from([2, 8, 128, 200, 512]),
    probes=st.sampled_from([1, 2, 3, 5, 16, 17, 33, 64, 65]),
    removed=st.sets(st.integers(0, 89)),
    seed=st.integers(0, 2**32 - 1),
)
def test_small_galleries_are_answered_as_the_oracle_does(
    name: str, kind: str, rows: int, payers: int, dimension: int, probes: int, removed: set[int], seed: int
) -> None:
    """Any kind of gallery, some of it removed, some probes like a template and others like nobody."""
    rng = np.random.default_rng(seed)
    vectors = DRAWN[kind](rng, rows, dimension)
    gallery = {f"t{rng.integers(10**6)}-{i}": (f"p{rng.integers(payers)}", vectors[i]) for i in range(rows)}
    index = filled(ExactIndex(dimension, kernel=kernel(name, dimension)), gallery)
    names = list(gallery)
    for i in removed:
        if i < rows:
            assert index.remove(names[i])
            del gallery[names[i]]
    asked = unit(rng, probes, dimension)
    asked[::2] = vectors[rng.integers(rows, size=len(asked[::2]))]
    assert list(index.search(asked)) == oracle(gallery, asked)


@pytest.mark.parametrize(
    ("name", "kind"),
    [(name, kind) for name in KERNELS for kind in sorted(DRAWN) if name == "compiled" or kind == "one crowd"],
)
def test_galleries_of_several_segments(name: str, kind: str) -> None:
    """More rows than a segment and than a stage has; one payer has hundreds of the templates nearest to a probe."""
    rng = np.random.default_rng(5)
    rows, dimension = (17_500, 64) if kind != "all equal" else (3000, 64)
    vectors = DRAWN[kind](rng, rows, dimension)
    vectors[-600:-300] = of_length_1(vectors[0] + rng.normal(scale=1e-3, size=(300, dimension)))
    payers = [f"p{i // 2}" for i in range(rows)]
    payers[-600:-300] = ["many"] * 300
    gallery = {f"t{i * 7919 % rows}": (payers[i], vectors[i]) for i in range(rows)}
    index = filled(ExactIndex(dimension, kernel=kernel(name, dimension)), gallery)
    for i in range(0, rows, 5):
        assert index.remove(f"t{i}")
        del gallery[f"t{i}"]
    asked = np.concatenate([vectors[[0, 1, -400, -1]], unit(rng, 8, dimension)])
    expected = oracle(gallery, asked)
    assert list(index.search(asked)) == expected
    assert [index.search(probe[None])[0] for probe in asked] == expected


@pytest.mark.parametrize("name", KERNELS)
def test_one_payer_in_every_corner(name: str) -> None:
    """Forty templates of one payer, all over the gallery and all nearer than anybody else: the runner-up is another."""
    rng = np.random.default_rng(6)
    vectors = unit(rng, 10_000, 64)
    vectors[::250] = of_length_1(vectors[0] + rng.normal(scale=0.01, size=(40, 64)))
    gallery = {f"t{i}": ("one" if i % 250 == 0 else f"p{i}", vector) for i, vector in enumerate(vectors)}
    index = filled(ExactIndex(64, kernel=kernel(name, 64)), gallery)
    probes = vectors[[0, 250, 500]]
    expected = oracle(gallery, probes)
    assert expected[0] is not None
    assert expected[0].runner_up < 0.8
    assert list(index.search(probes)) == expected
    assert list(index.search(probes[:1])) == expected[:1]


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("rows", [1, 3, 7, 255, 256])
def test_nobody_is_found_beyond_the_last_row(name: str, rows: int) -> None:
    """Rows that were never written are zeros, which are nearer than templates on the other side: they do not count."""
    rng = np.random.default_rng(7)
    probe = unit(rng, 32)
    vectors = of_length_1(-probe + rng.normal(scale=0.05, size=(rows, 32)))
    gallery = {f"t{i}": (f"p{i}", vector) for i, vector in enumerate(vectors)}
    index = filled(ExactIndex(32, kernel=kernel(name, 32)), gallery)
    for count in (1, 5):
        probes = np.repeat(probe[None], count, axis=0)
        assert list(index.search(probes)) == oracle(gallery, probes)


@pytest.mark.parametrize("name", KERNELS)
def test_a_result_does_not_depend_on_its_batch(name: str) -> None:
    """A probe alone, in a pair, and among 64 others gives the same match to the last bit."""
    rng = np.random.default_rng(11)
    index = ExactIndex(128, kernel=kernel(name, 128))
    filled(index, {f"t{i}": (f"p{i}", vector) for i, vector in enumerate(unit(rng, 3000, 128))})
    probes = unit(rng, 65, 128)
    together = list(index.search(probes))
    assert together == [index.search(probe[None])[0] for probe in probes]
    assert together[:2] == list(index.search(probes[:2]))
    assert together[:20] == list(index.search(probes[:20]))


@pytest.mark.parametrize("name", KERNELS)
def test_equal_templates_are_told_apart_by_their_ids(name: str) -> None:
    """The smallest id wins whenever it was put; the other payer with the same vector is the runner-up."""
    vector = unit(np.random.default_rng(1), 16)
    index = ExactIndex(16, kernel=kernel(name, 16))
    for template in ("m", "b", "z", "a", "c"):
        index.put(template, f"payer-{template}", vector)
    (match,) = index.search(vector[None])
    assert match is not None
    assert (match.template_id, match.payer_id) == ("a", "payer-a")
    assert match.runner_up == match.similarity
    index.remove("a")
    (match,) = index.search(np.repeat(vector[None], 5, axis=0))[:1]
    assert match is not None
    assert match.template_id == "b"


@pytest.mark.parametrize("name", KERNELS)
def test_probes_of_any_length(name: str) -> None:
    """A zero probe is like everybody to the same degree; a long one changes nothing but the figures."""
    rng = np.random.default_rng(2)
    gallery = {f"t{i}": (f"p{i}", vector) for i, vector in enumerate(unit(rng, 500, 32))}
    index = filled(ExactIndex(32, kernel=kernel(name, 32)), gallery)
    probes = np.concatenate([np.zeros((1, 32), np.float32), 3 * unit(rng, 2, 32), 1e-20 * unit(rng, 2, 32)])
    assert list(index.search(probes)) == oracle(gallery, probes)


@pytest.mark.parametrize("name", KERNELS)
def test_no_similarity_is_further_from_its_score_than_the_error(name: str) -> None:
    """What everything rests on, for vectors that codes keep well and for those that they cut off."""
    rng = np.random.default_rng(3)
    dimension = 128
    for kind in ("independent", "along axes"):
        vectors = DRAWN[kind](rng, 400, dimension)
        scanner = kernel(name, dimension)
        index = ExactIndex(dimension, kernel=scanner)
        filled(index, {f"t{i}": ("p", vector) for i, vector in enumerate(vectors)})
        probes = Probes.of(np.concatenate([unit(rng, 8, dimension), vectors[:8]]))
        with index._view() as view:
            ((segment, count),) = view.parts
            scan = scanner.scan(probes)
            similar = scan.scores(segment, 0, count) * scan.unit[:, None]
            wrong = np.abs(probes.exact @ vectors.astype(np.float64).T - similar)
            assert (wrong <= scan.error(segment)[:, None]).all()


def test_the_most_by_a_4_bit_code_is_never_below_the_similarity() -> None:
    """The same for the codes that a single probe looks at first."""
    rng = np.random.default_rng(4)
    coder = Coder(200, coarse=True)
    for kind in ("independent", "along axes"):
        vectors = DRAWN[kind](rng, 300, 200)
        coded = coder.code(vectors)
        pairs = coded.halves.reshape(300, -1, 1, 64)
        numbers = np.concatenate([pairs & 15, pairs >> 4], axis=2).reshape(300, -1)[:, :200]
        decoded = coder.levels[numbers] * coder.level_step
        assert (np.linalg.norm(vectors - decoded, axis=1) <= coded.residuals).all()
        assert np.linalg.norm(decoded, axis=1).max() <= coded.half_length
