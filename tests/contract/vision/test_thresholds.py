"""The thresholds that the manifest states hold on the portraits it names: 500 people, 223,239 non-mated pairs."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from pipeline.vision.decode import read_image
from pipeline.vision.engine import OnnxEngine
from pipeline.vision.models import manifest

pytestmark = pytest.mark.shared

PAINTING = "020107"


def test_cosine_thresholds_have_their_false_match_rates_and_miss_no_mated_pair(shared: Path) -> None:
    """Each portrait has one face; at each threshold FMR is as stated within a quarter and no mated pair is missed."""
    folder = shared / "faces" / "congress"
    with (folder / "index.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["identity"] != PAINTING]
    with (folder / "same_pairs.csv").open(encoding="utf-8", newline="") as file:
        pairs = [row for row in csv.DictReader(file) if row["identity"] != PAINTING]
    engine = OnnxEngine.open(shared / "models")
    found = [engine.faces([read_image(folder / row["file"])])[0] for row in rows]
    assert [len(faces) for faces in found] == [1] * len(rows)
    embeddings = np.stack([faces[0].embedding for faces in found])
    identities = np.array([row["identity"] for row in rows])
    upper = np.triu_indices(len(rows), 1)
    non_mated = (embeddings @ embeddings.T)[upper][identities[upper[0]] != identities[upper[1]]]
    place = {row["file"]: index for index, row in enumerate(rows)}
    mated = np.array([embeddings[place[p["file_x"]]] @ embeddings[place[p["file_y"]]] for p in pairs])
    spec = next(spec for spec in manifest() if spec.sha256 == engine.embedder_sha256)
    assert len(mated) == 91
    assert len(non_mated) > 200_000
    rates = {name: cosine for name, cosine in spec.thresholds.items() if name.startswith("fmr_")}
    assert len(rates) == 3
    for name, threshold in rates.items():
        assert np.mean(non_mated >= threshold) <= 1.25 * float(name.removeprefix("fmr_")), name
        assert (mated < threshold).sum() == 0, name
