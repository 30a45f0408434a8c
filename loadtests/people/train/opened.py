"""A model that is not published yet, opened as the product opens one: through its contract."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from pathlib import Path

import msgspec

from pipeline.vision.models import ModelFile, ModelSpec, ModelStore
from pipeline.vision.sessions import Execution, Session, open_session


def opened(path: Path, entry: str, thresholds: Mapping[str, float] | None = None) -> Session:
    """The file at `path`, held to the manifest's table `entry` (see `recipe.Recipe`).

    Raises `ModelError` when the file does not keep the contract.
    """
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    table = tomllib.loads(entry) | {
        "name": path.stem,
        "file": path.name,
        "sha256": digest,
        "thresholds": dict(thresholds or {}),
        "thresholds_from": "not calibrated yet",
    }
    spec = msgspec.convert(table, ModelSpec, strict=True)
    return open_session(ModelStore(path.parent, [ModelFile(path, digest, spec)], drawn=True), spec, Execution())
