"""Which model files may be used: found by the SHA-256 of their bytes, whatever their names.

`manifest.toml` beside this module lists every known model with its contract, its licence and the terms of its training
data; `drawn.toml` does so for the models that ship with the package. A `ModelStore` is a folder: it offers those of its
files that the manifests know and refuses every other one. It refuses models that were trained on drawn people, too,
unless it was opened for them: they say nothing about a real face. `pipeline.vision.sessions` loads a model and holds it
to the contract; galleries are bound to the hash of the embedder that made them.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Literal

import msgspec

from pipeline.errors import ModelError

SHIPPED = Path(__file__).resolve().parents[2] / "loadtests" / "people" / "models"
"""The weights that ship with the package: those of drawn people, and the eye model."""

Role = Literal["detector", "embedder", "liveness", "eyes"]
Family = Literal["yunet", "scrfd", "arcface", "minifas", "eye_state"]

_FILES = ("manifest.toml", "drawn.toml")


@dataclass(frozen=True, slots=True)
class InputContract:
    """The one input, float32: `shape` as the file declares it, -1 for any; (pixel - mean) / std, a number per channel
    in the order of `colour`.
    """

    name: str
    shape: tuple[int, ...]
    colour: Literal["BGR", "RGB", "GREY"]
    mean: tuple[float, ...]
    std: tuple[float, ...]


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
    """One known model: the bytes it is, what it promises, and on what terms.

    `drawn`: trained on drawn people, for demos and tests only. `url`: where exactly these bytes are published, empty
    when nobody publishes them. `bytes`: the file's size, 0 where the manifest does not say.
    """

    name: str
    file: str
    sha256: str
    role: Role
    family: Family
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
    drawn: bool = False
    url: str = ""
    bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FusionSpec:
    """How liveness models become one score: the sum of weight * live probability, only when all have answered.

    `threshold` is the least score that counts as live. `proven`: it was validated on attacks and bona fide faces that
    it was not chosen on.
    """

    name: str
    weights: Mapping[str, float]
    threshold: float
    proven: bool
    threshold_from: str


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A file of a store: `spec` is None when no known model has this hash."""

    path: Path
    sha256: str
    spec: ModelSpec | None


@dataclass(frozen=True, slots=True)
class _Manifest:
    models: tuple[ModelSpec, ...] = field(default=())
    fusions: tuple[FusionSpec, ...] = field(default=())


@cache
def _manifests() -> tuple[_Manifest, ...]:
    folder = resources.files("pipeline.vision")
    texts = (folder.joinpath(name).read_text(encoding="utf-8") for name in _FILES)
    return tuple(msgspec.convert(tomllib.loads(text), _Manifest, strict=True) for text in texts)


@cache
def manifest() -> tuple[ModelSpec, ...]:
    """Every known model, the preferred one of a role first: those for real people before those for drawn ones."""
    return tuple(spec for part in _manifests() for spec in part.models)


@cache
def fusions() -> tuple[FusionSpec, ...]:
    """Every known fusion of liveness models, the preferred one first."""
    return tuple(spec for part in _manifests() for spec in part.fusions)


def known(sha256: str) -> ModelSpec | None:
    """The model with this hash; None when no known model has it."""
    return next((spec for spec in manifest() if spec.sha256 == sha256), None)


def unmixed(specs: Iterable[ModelSpec]) -> None:
    """Raises `ModelError` when models for drawn people stand beside models for real ones: a live score of one kind
    would speak for an embedding of the other. An eye model serves both.
    """
    kinds = {spec.drawn: spec.name for spec in specs if spec.role != "eyes"}
    if len(kinds) > 1:
        raise ModelError(
            f"choosing the models: {kinds[True]} is for drawn people only and {kinds[False]} is for real ones; keep "
            "the two kinds in folders of their own"
        )


class ModelStore:
    """A folder of ONNX files, hashed once when it is opened; `drawn`: models for drawn people may be used, too."""

    def __init__(self, folder: Path, files: Sequence[ModelFile], *, drawn: bool = False) -> None:
        self.folder = folder
        self.files = tuple(files)
        self.drawn = drawn

    @classmethod
    def open(cls, folder: Path, *, drawn: bool = False) -> ModelStore:
        """Hashes the `*.onnx` files directly in `folder`; raises `ModelError` when it is no readable folder."""
        try:
            paths = sorted(path for path in folder.iterdir() if path.suffix == ".onnx" and path.is_file())
            hashes = [_sha256(path) for path in paths]
        except OSError as error:
            raise ModelError(
                f"opening the models folder {folder}: {error.strerror}; pass a folder of ONNX files (--models)"
            ) from None
        files = [ModelFile(path, sha256, known(sha256)) for path, sha256 in zip(paths, hashes, strict=True)]
        return cls(folder, files, drawn=drawn)

    def find(self, role: Role, name: str | None = None) -> ModelSpec | None:
        """The preferred model of `role` that the folder holds and this store may use, or the one called `name`; None
        when there is none.
        """
        return next((spec for spec in self._held(role, name) if self.drawn or not spec.drawn), None)

    def fusion(self) -> FusionSpec | None:
        """The first fusion whose models are all here and may be used; None when there is none."""
        for fusion in fusions():
            if all(self.find("liveness", name) is not None for name in fusion.weights):
                return fusion
        return None

    def require(self, role: Role, name: str | None = None) -> ModelSpec:
        """As `find`, but absence is a `ModelError` that says which hash is wanted and what was found instead."""
        spec = self.find(role, name)
        if spec is not None:
            return spec
        for refused in self._held(role, name):
            raise _for_drawn_people(refused)
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
        """The model's bytes, hashed again as read: a file that was swapped meanwhile raises `ModelError`, and so does a
        model for drawn people in a store that was not opened for them.
        """
        if spec.drawn and not self.drawn:
            raise _for_drawn_people(spec)
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

    def _held(self, role: Role, name: str | None) -> Iterator[ModelSpec]:
        held = {file.sha256 for file in self.files}
        return (s for s in manifest() if s.role == role and name in {None, s.name} and s.sha256 in held)


def _for_drawn_people(spec: ModelSpec) -> ModelError:
    return ModelError(
        f"choosing the model {spec.name}: it was trained on drawn people and says nothing about real ones; use a model "
        "of `facepay models list`, or set vision.drawn_models to allowed for a demo or a test"
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
