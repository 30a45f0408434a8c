"""Which model files may be used: found by the SHA-256 of their bytes, whatever their names.

`manifest.toml` beside this module lists every known model with its contract, its licence and the terms of its training
data. A `ModelStore` is a folder: it offers those of its files that the manifest knows and refuses every other one.
`pipeline.vision.sessions` loads a model and holds it to the contract; galleries are bound to the hash of the embedder
that made them.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Literal

import msgspec

from pipeline.errors import ModelError

Role = Literal["detector", "embedder", "liveness"]


@dataclass(frozen=True, slots=True)
class InputContract:
    """The one input, float32: `shape` as the file declares it, -1 for any; (pixel - mean) / std in the order of
    `colour`.
    """

    name: str
    shape: tuple[int, ...]
    colour: Literal["BGR", "RGB"]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class OutputContract:
    """One output, float32: `shape` as the file declares it, -1 for any."""

    name: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class CropContract:
    """A liveness model's view: the box widened `scale` times, shifted into the picture, or squared and mirrored."""

    kind: Literal["shifted", "square"]
    scale: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """One known model: the bytes it is, what it promises, and on what terms."""

    name: str
    file: str
    sha256: str
    role: Role
    family: Literal["yunet", "arcface", "minifas"]
    summary: str
    source: str
    licence: str
    training_terms: str
    input: InputContract
    outputs: tuple[OutputContract, ...]
    thresholds: Mapping[str, float]
    thresholds_from: str
    max_side_px: int | None = None
    template: Literal["arcface_112"] | None = None
    crop: CropContract | None = None
    live_class: int = 0
    softmax: bool = False


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A file of a store: `spec` is None when no known model has this hash."""

    path: Path
    sha256: str
    spec: ModelSpec | None


@dataclass(frozen=True, slots=True)
class _Manifest:
    models: tuple[ModelSpec, ...] = field(default=())


@cache
def manifest() -> tuple[ModelSpec, ...]:
    """Every known model, the preferred one of a role first."""
    text = resources.files("pipeline.vision").joinpath("manifest.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text), _Manifest, strict=True).models


class ModelStore:
    """A folder of ONNX files, hashed once when it is opened."""

    def __init__(self, folder: Path, files: Sequence[ModelFile]) -> None:
        self.folder = folder
        self.files = tuple(files)

    @classmethod
    def open(cls, folder: Path) -> ModelStore:
        """Hashes the `*.onnx` files directly in `folder`; raises `ModelError` when it is no readable folder."""
        known = {spec.sha256: spec for spec in manifest()}
        try:
            paths = sorted(path for path in folder.iterdir() if path.suffix == ".onnx" and path.is_file())
            hashes = [_sha256(path) for path in paths]
        except OSError as error:
            raise ModelError(
                f"opening the models folder {folder}: {error.strerror}; pass a folder of ONNX files (--models)"
            ) from None
        return cls(folder, [ModelFile(p, h, known.get(h)) for p, h in zip(paths, hashes, strict=True)])

    def find(self, role: Role, name: str | None = None) -> ModelSpec | None:
        """The preferred model of `role` that the folder holds, or the one called `name`; None when it is absent."""
        held = {file.sha256 for file in self.files}
        for spec in manifest():
            if spec.role == role and name in {None, spec.name} and spec.sha256 in held:
                return spec
        return None

    def require(self, role: Role, name: str | None = None) -> ModelSpec:
        """As `find`, but absence is a `ModelError` that says which hash is wanted and what was found instead."""
        spec = self.find(role, name)
        if spec is not None:
            return spec
        wanted = next((s for s in manifest() if s.role == role and name in {None, s.name}), None)
        if wanted is None:
            names = ", ".join(s.name for s in manifest() if s.role == role)
            raise ModelError(f"looking for the {role} {name}: no known model has this name; choose one of: {names}")
        others = [file.path.name for file in self.files if file.spec is None]
        found = (
            f"these files have another hash than any known model: {', '.join(others)}"
            if others
            else "no other file is there"
        )
        raise ModelError(
            f"looking for the {role} in {self.folder}: no file has the SHA-256 {wanted.sha256} of {wanted.name}, "
            f"and {found}; put the file {wanted.file} from {wanted.source.split(' ', maxsplit=1)[0]} there"
        )

    def read(self, spec: ModelSpec) -> bytes:
        """The model's bytes, hashed again as read: a file that was swapped meanwhile raises `ModelError`."""
        for file in self.files:
            if file.sha256 == spec.sha256:
                try:
                    data = file.path.read_bytes()
                except OSError as error:
                    raise ModelError(f"reading the model {file.path}: {error.strerror}") from None
                digest = hashlib.sha256(data).hexdigest()
                if digest != spec.sha256:
                    raise ModelError(
                        f"reading the model {file.path}: its SHA-256 is now {digest}, not the pinned {spec.sha256}; "
                        "restore the file and start again"
                    )
                return data
        raise ModelError(f"reading the model {spec.name}: {self.folder} holds no file with its SHA-256 {spec.sha256}")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
