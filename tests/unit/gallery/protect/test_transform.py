"""The keyed transform: a rotation that keeps cosines, and that its key alone decides."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import SealError, SettingsError
from pipeline.gallery.protect import transform as module
from pipeline.gallery.protect.transform import Matrix, Transform
from pipeline.keys.keyring import Keyring
from pipeline.ports import Vector


def unit_rows(count: int, dimension: int, seed: int = 1) -> Vector:
    raw = np.random.default_rng(seed).normal(size=(count, dimension))
    rows: Vector = (raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float32)
    return rows


def cosines(rows: Vector) -> Matrix:
    gram: Matrix = rows.astype(np.float64) @ rows.T.astype(np.float64)
    return gram


@pytest.fixture(scope="module")
def keyring(tmp_path_factory: pytest.TempPathFactory) -> Keyring:
    keyring = Keyring.create(tmp_path_factory.mktemp("keys") / "keys")
    keyring.new_version("gallery")
    keyring.new_version("gallery")
    return keyring


@pytest.mark.parametrize("dimension", [64, 128, 512])
def test_cosines_stay(keyring: Keyring, dimension: int) -> None:
    """Over many pairs, near and far, no cosine changes by more than 1e-5, nor after two turns into other spaces."""
    rows = unit_rows(300, dimension)
    rows[1::2] = rows[::2] + 0.05 * rows[1::2]  # near pairs
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    one, two, three = (Transform.of(keyring, version, dimension) for version in (1, 2, 3))
    protected = one.apply(rows)
    turned = three.turn(two.turn(protected, one), two)
    for changed in (protected, turned):
        assert changed.dtype == np.float32
        assert np.abs(cosines(changed) - cosines(rows)).max() <= 1e-5
    assert np.abs(turned - three.apply(rows)).max() < 1e-6
    assert np.abs(one.undo(protected) - rows).max() < 1e-6
    assert one.turn(protected, one) is protected


@given(seed=st.integers(0, 2**32), near=st.floats(0, 2))
@settings(max_examples=50, deadline=None)
def test_no_pair_of_vectors_is_an_exception(keyring: Keyring, seed: int, near: float) -> None:
    """Law: |change of cosine| <= 1e-5 for any two vectors, equal, opposite or in between."""
    x, y = unit_rows(2, 128, seed)
    y = np.asarray(x + near * (y - x) if near <= 1 else -y, np.float32)
    y /= np.linalg.norm(y)
    before = float(x.astype(np.float64) @ y.astype(np.float64))
    px, py = Transform.of(keyring, 1, 128).apply(np.stack([x, y])).astype(np.float64)
    assert abs(float(px @ py) - before) <= 1e-5


def test_the_matrix_is_what_it_always_was() -> None:
    """Known answer: the same key gives the same rotation on every platform and numpy."""
    matrix = module._rotation(hashlib.sha256(b"known").digest(), 16)
    assert np.abs(matrix @ matrix.T - np.eye(16)).max() < 1e-12
    assert matrix[0, :4] == pytest.approx(KNOWN_ROW, abs=1e-9)
    assert float(np.trace(matrix)) == pytest.approx(KNOWN_TRACE, abs=1e-9)
    assert module._normals(bytes(32), 4) == pytest.approx(KNOWN_NORMALS, abs=1e-12)


KNOWN_ROW = [0.050105790753480095, -0.013808492540134222, 0.30133942643182277, 0.28827269768527836]
KNOWN_TRACE = 0.24966438974700383
KNOWN_NORMALS = [0.8456044377785632, 0.33021853859607136, 0.6575131752304001, -1.8886168320564873]


@pytest.mark.parametrize("dimension", [16, 96])
def test_the_matrix_is_the_one_of_its_normals(dimension: int) -> None:
    """Oracle: Gram and Schmidt's method in extended precision over the same normals gives the same columns."""
    key = hashlib.sha256(b"oracle").digest()
    columns = module._normals(key, dimension**2).reshape(dimension, dimension).astype(np.longdouble)
    basis = np.zeros_like(columns)
    for j in range(dimension):
        rest = columns[:, j]
        for _ in range(2):
            rest = rest - basis[:, :j] @ (basis[:, :j].T @ rest)
        basis[:, j] = rest / np.sqrt(rest @ rest)
    assert float(np.abs(basis - module._rotation(key, dimension)).max()) < 1e-11


def test_the_matrix_is_drawn_from_all_rotations() -> None:
    """Haar: over many keys the entries of a matrix have mean 0 and variance 1/d everywhere, the diagonal included (a QR
    without its signs fixed has a diagonal that is not), and rotations and reflections are as frequent."""
    many = np.stack([module._rotation(hashlib.sha256(bytes([i, j])).digest(), 8) for i in range(8) for j in range(250)])
    assert np.abs(many.mean(axis=0)).max() < 5 / np.sqrt(8 * len(many))
    assert np.abs((many**2).mean(axis=0) - 1 / 8).max() < 0.02
    assert abs((np.linalg.det(many) > 0).mean() - 0.5) < 0.06


def test_every_version_and_dimension_has_its_own(keyring: Keyring, tmp_path: Path) -> None:
    """A vector protected under another version, or another keyring's same version, is like a stranger's."""
    rows = unit_rows(200, 128)
    spaces = [Transform.of(keyring, 1, 128), Transform.of(keyring, 2, 128)]
    spaces.append(Transform.of(Keyring.create(tmp_path / "other"), 1, 128))
    for a in range(3):
        for b in range(a):
            same_person = np.einsum("nd,nd->n", spaces[a].apply(rows), spaces[b].apply(rows))
            assert abs(float(same_person.mean())) < 5 / np.sqrt(128 * 200) + 5 / 128
            assert np.abs(same_person).max() < 0.5


def test_batches_agree(keyring: Keyring) -> None:
    """A vector is protected the same alone as among others, but for rare last bits."""
    rows, space = unit_rows(64, 512), Transform.of(keyring, 1, 512)
    together, alone = space.apply(rows), np.stack([space.apply(row) for row in rows])
    assert np.abs(together - alone).max() <= 2**-24
    assert (together != alone).mean() < 1e-3


def test_a_space_outlives_its_secret(tmp_path: Path) -> None:
    """Who holds a space keeps it when its secret is destroyed; nobody can make it again."""
    keyring = Keyring.create(tmp_path / "keys")
    space, rows = Transform.of(keyring, 1, 64), unit_rows(3, 64)
    before = space.apply(rows)
    keyring.new_version("gallery")
    keyring.destroy_version("gallery", 1)
    assert np.array_equal(space.apply(rows), before)
    for version in (1, 9):
        with pytest.raises(SealError, match="unknown_key_version"):
            Transform.of(keyring, version, 64)


def test_a_damaged_secret_is_no_unknown_version(tmp_path: Path) -> None:
    """A keyring that others can read, or that is damaged, stops the process: it is no template's fault."""
    keyring = Keyring.create(tmp_path / "keys")
    (keyring.folder / "gallery.1.key").chmod(0o644)
    with pytest.raises(SettingsError, match="lets other users read it"):
        Transform.of(keyring, 1, 64)


def test_nothing_of_a_space_can_be_read_in_its_representation(keyring: Keyring) -> None:
    """A log line with a space in it tells no number of it."""
    assert repr(Transform.of(keyring, 1, 4)).startswith("<pipeline.gallery.protect.transform.Transform object")
