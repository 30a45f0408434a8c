"""What is to be said of the models in a folder: which are known, present, whole, and keep their contract."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.errors import ModelError
from pipeline.vision.models import ModelFile, ModelSpec, ModelStore, Role, manifest
from pipeline.vision.sessions import Execution, open_session

NEEDED: tuple[Role, ...] = ("detector", "embedder")
"""Without one of each there is no engine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelReport:
    """One model or one unknown file; `file` is None when the model is absent, `found` says what was seen."""

    name: str
    sha256: str
    licence: str
    ok: bool
    found: str
    role: str
    file: str | None
    drawn: bool = False
    training_terms: str = ""
    source: str = ""
    thresholds: Mapping[str, float] = field(default_factory=dict)
    thresholds_from: str = ""


def known_models(store: ModelStore | None) -> list[ModelReport]:
    """Every model of the manifest; ok when the folder (None for no folder) holds a file with its hash."""
    held = {} if store is None else {file.sha256: file.path.name for file in store.files}
    return [
        report(spec, held.get(spec.sha256), ok=spec.sha256 in held, found=_presence(spec, here=spec.sha256 in held))
        for spec in manifest()
    ]


def verified_models(store: ModelStore, execution: Execution) -> list[ModelReport]:
    """Every ONNX file of the folder, loaded and held to its contract, and every needed role that none of them fills."""
    reports = []
    for file in store.files:
        if file.spec is None:
            reports.append(_unknown(file))
            continue
        try:
            session = open_session(store, file.spec, execution)
        except ModelError as error:
            reports.append(report(file.spec, file.path.name, ok=False, found=str(error)))
        else:
            reports.append(report(file.spec, file.path.name, ok=True, found=f"runs on {', '.join(session.providers)}"))
    for role in NEEDED:
        try:
            store.require(role)
        except ModelError as error:
            wanted = next(spec for spec in manifest() if spec.role == role)
            reports.append(report(wanted, None, ok=False, found=str(error)))
    return reports


def report(spec: ModelSpec, file: str | None, *, ok: bool, found: str) -> ModelReport:
    """What the manifest says of `spec`, and what was `found` of it in a folder: `file` is the name it has there."""
    return ModelReport(
        name=spec.name,
        sha256=spec.sha256,
        licence=spec.licence,
        ok=ok,
        found=found,
        role=spec.role,
        file=file,
        drawn=spec.drawn,
        training_terms=spec.training_terms,
        source=spec.source,
        thresholds=spec.thresholds,
        thresholds_from=spec.thresholds_from,
    )


def _presence(spec: ModelSpec, *, here: bool) -> str:
    if here:
        return "present; for drawn people only, refused outside demos and tests" if spec.drawn else "present"
    return (
        "absent"
        if spec.url or spec.drawn or spec.role == "eyes"
        else "absent, and nobody publishes this file: see its source"
    )


def _unknown(file: ModelFile) -> ModelReport:
    return ModelReport(
        name=file.path.stem,
        sha256=file.sha256,
        licence="unknown",
        ok=False,
        found="no known model has this hash; it is never loaded",
        role="unknown",
        file=file.path.name,
    )
