"""The exact index on a GPU: the oracle's answers, and rows that are gone from the device."""

from __future__ import annotations

import numpy as np

from pipeline.gallery.index import ExactIndex
from pipeline.vision.sessions import Execution
from tests.unit.gallery.index.galleries import filled, of_length_1, oracle, unit


def test_answers_are_the_oracles(gpu: Execution) -> None:
    """Half precision and a top-k on the device; several segments, near-duplicates, batches of 1 and 65."""
    del gpu  # it skips where there is none
    rng = np.random.default_rng(1)
    vectors = unit(rng, 40_000, 512)
    vectors[:500] = of_length_1(vectors[0] + rng.normal(scale=1e-4, size=(500, 512)))
    gallery = {f"t{i}": (f"p{i // 2}", vector) for i, vector in enumerate(vectors)}
    index = filled(ExactIndex(512, kernel="gpu"), gallery)
    probes = np.concatenate([vectors[:33], unit(rng, 32, 512)])
    assert list(index.search(probes)) == oracle(gallery, probes)
    assert [index.search(probe[None])[0] for probe in probes[:4]] == oracle(gallery, probes[:4])


def test_what_was_erased_is_not_found(gpu: Execution) -> None:
    """Rows on the device are those of the segment, also after some were overwritten and others came."""
    del gpu
    rng = np.random.default_rng(2)
    gallery = {f"t{i}": (f"p{i}", vector) for i, vector in enumerate(unit(rng, 3000, 512))}
    index = filled(ExactIndex(512, kernel="gpu"), gallery)
    for i in range(0, 3000, 300):
        _, vector = gallery.pop(f"t{i}")
        index.search(vector[None])
        assert index.remove_payer(f"p{i}") == 1
        gallery[f"u{i}"] = (f"q{i}", unit(rng, 512))
        index.put(f"u{i}", *gallery[f"u{i}"])
        assert list(index.search(vector[None])) == oracle(gallery, vector[None])
