"""`facepay evaluate`: error rates on labelled pictures, each with a 95 % interval."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import track

from pipeline.cli import console, evaluate_tables
from pipeline.cli.console import JsonFlag
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from pipeline.domain.fmr import FmrModel
    from pipeline.evaluate.comparisons import Comparisons
    from pipeline.evaluate.in_force import Rule
    from pipeline.evaluate.sightings import Labels, Sighting
    from pipeline.vision.engine import OnnxEngine, Pad
    from pipeline.vision.faces import Face

app = typer.Typer(help="Error rates on labelled pictures, each with a 95 % interval.", no_args_is_help=True)

Models = Annotated[Path | None, typer.Option(help="Folder of ONNX files; default: the setting vision.models.")]
Images = Annotated[Path, typer.Option(help="Folder of the pictures that the index names.")]
Drawn = Annotated[bool, typer.Option("--drawn", help="Allow the models of people who do not exist, on drawn pictures.")]
Gated = Annotated[
    bool, typer.Option("--terminal-gate", help="Acquire only faces that the agents would judge at a terminal.")
]
Calibration = Annotated[
    Path | None, typer.Option(help="Write the false match rates measured here to FILE, as a table of fmr.toml.")
]
FPIR = 1e-2
"""Of one search: where FNIR is told for comparison."""


@app.command()
def recognition(
    images: Images,
    index: Annotated[Path, typer.Option(help="CSV: file, identity, and any column for --by.")],
    models: Models = None,
    pairs: Annotated[
        Path | None, typer.Option(help="CSV: file_x, file_y: the mated pairs; default: all pairs of one identity.")
    ] = None,
    leave_out: Annotated[list[str] | None, typer.Option(help="An identity to leave out; may be repeated.")] = None,
    by: Annotated[
        str, typer.Option(help="Also split by: size, light, exposure, sharpness, pose, pitch, roll or a column; a,b,c.")
    ] = "",
    embedder: Annotated[
        str | None, typer.Option(help="Name of the embedding model; default: the preferred one.")
    ] = None,
    terminal_gate: Gated = False,
    drawn: Drawn = False,
    calibration: Calibration = None,
    json: JsonFlag = False,
) -> None:
    """FNMR where FMR is held, EER, AUC, and FPIR and FNIR of searching galleries of growing size (ISO/IEC 19795-1),
    at the manifest's threshold, at a given FPIR, and in force: where the threshold rises with the gallery.

    Failures to detect and to acquire a face are counted apart. Intervals draw people anew, not pairs."""
    from pipeline.evaluate import recognition as rates
    from pipeline.evaluate.comparisons import compare
    from pipeline.evaluate.identification import at_fpir, searches
    from pipeline.evaluate.in_force import in_force, limits
    from pipeline.evaluate.sightings import placed, read_index, read_table
    from pipeline.evaluate.strata import by as split
    from pipeline.evaluate.strata import check_names

    started = time.perf_counter()
    rows = read_index(index, "identity")
    splits = [name.strip() for name in by.split(",") if name.strip()]
    check_names(splits, rows[0])
    kept, listed = without(rows, None if pairs is None else read_table(pairs, ("file_x", "file_y")), leave_out or [])
    engine = open_engine(models, "off", embedder=embedder, drawn=drawn)
    sightings = sight(engine, placed(kept, images, index), kept, gated=terminal_gate)
    comparisons = compare(sightings, listed)
    thresholds = dict(engine.thresholds)
    margin = thresholds.pop("margin", 0.0)
    match = thresholds.get("match", thresholds.get("fmr_1e-5", 0.5))
    figures = rates.rates(comparisons, thresholds)
    if figures is None:
        raise UsageError(
            f"comparing the pictures of {index}: {len(comparisons.mated)} mated and {len(comparisons.non_mated)} "
            "non-mated pairs could be compared, and both are needed; give two pictures of one person and one of another"
        )
    seen = [s for s in sightings if s.outcome == "seen"]
    held = {row.fmr: row.threshold for row in figures.fnmr_at_fmr}
    strata = [
        row
        for name in splits
        for threshold in dict.fromkeys([match, held.get(1e-3) or match])
        for row in split(comparisons, seen, name, threshold)
    ]
    found = searches(comparisons, match, tuple(dict.fromkeys((0.0, margin))))
    measured = _false_matches(comparisons, f"{len(seen)} pictures of {images.resolve().name}", engine, calibration)
    model = engine.fmr or measured
    rule = None if model is None else rule_of(model, engine.thresholds)
    result = {
        **asdict(figures),
        "identification": [asdict(row) for row in found if row.margin == 0],
        "identification_with_margin": [asdict(row) for row in found if row.margin],
        "identification_at_fpir": [asdict(row) for row in at_fpir(comparisons, FPIR)],
        "identification_in_force": [] if rule is None else [asdict(r) for r in in_force(comparisons, rule)],
        "identification_of_all_templates": (
            [] if rule is None else [asdict(row) for row in in_force(comparisons, rule, every=True)]
        ),
        "limits": None if rule is None else limits(rule),
        "false_matches": None if model is None else asdict(model),
        "false_matches_measured": None if measured is None else asdict(measured),
        "by": [asdict(row) for row in strata],
        "thresholds": dict(engine.thresholds),
        "not_compared": comparisons.not_compared,
        **_about(engine, sightings, started),
        "left_out": len(rows) - len(kept),
        "terminal_gate": terminal_gate,
    }
    console.finish(result, as_json=json, show=lambda: evaluate_tables.recognition(result, found, strata))


@app.command()
def liveness(
    images: Images,
    index: Annotated[Path, typer.Option(help="CSV: file, label (live, or the attack's species); also identity, eyes.")],
    models: Models = None,
    threshold: Annotated[float | None, typer.Option(help="Default: the threshold of the fusion in use.")] = None,
    terminal_gate: Gated = False,
    drawn: Drawn = False,
    json: JsonFlag = False,
) -> None:
    """APCER per species of attack and BPCER at the threshold in use, and AUC (ISO/IEC 30107-3).

    Presentations without a face are non-responses, counted apart. With a column `eyes` (open, closed) also how often
    closed eyes pass and open ones do not."""
    from pipeline.evaluate import liveness as rates
    from pipeline.evaluate.sightings import placed, read_index

    started = time.perf_counter()
    rows = read_index(index, "label")
    engine = open_engine(models, "report_only", drawn=drawn)
    used = engine.live_threshold if threshold is None else threshold
    if engine.live_threshold is None or used is None:
        raise UsageError(
            "judging liveness: the folder does not hold all models of a known fusion, so that there is no fused score; "
            "add the missing liveness models (facepay models list)"
        )
    sightings = sight(engine, placed(rows, images, index), rows, gated=terminal_gate)
    figures = rates.rates(sightings, used)
    eyes = rates.eyes(sightings)
    result = {
        "apcer": {share.name: share.rate for share in figures.attacks},
        "apcer_ci": {share.name: share.ci for share in figures.attacks},
        "bpcer": figures.bona_fide.rate,
        "bpcer_ci": figures.bona_fide.ci,
        "auc": figures.auc,
        "auc_ci": figures.auc_ci,
        "threshold": used,
        "provisional": not (engine.live_proven and threshold is None),
        "species": [asdict(share) for share in figures.attacks],
        "bona_fide": asdict(figures.bona_fide),
        "eyes": None if eyes is None else asdict(eyes),
        "rows": [_liveness_row(s, used) for s in sightings],
        **_about(engine, sightings, started),
        "terminal_gate": terminal_gate,
    }
    console.finish(
        result,
        as_json=json,
        show=lambda: evaluate_tables.liveness(result, [*figures.attacks, figures.bona_fide], eyes),
    )


def without(
    rows: Sequence[Labels], pairs: Sequence[Labels] | None, identities: Sequence[str]
) -> tuple[list[Labels], list[Labels] | None]:
    """The rows and pairs that show none of these identities; raises `UsageError` for one that no row has."""
    unknown = sorted(set(identities) - {row["identity"] for row in rows})
    if unknown:
        raise UsageError(f"leaving out {unknown[0]}: no picture of the index has this identity; check --leave-out")
    out = {row["file"] for row in rows if row["identity"] in identities}
    kept = [row for row in rows if row["file"] not in out]
    return kept, None if pairs is None else [p for p in pairs if not {p["file_x"], p["file_y"]} & out]


def open_engine(models: Path | None, pad: Pad, *, embedder: str | None = None, drawn: bool = False) -> OnnxEngine:
    """The engine as the settings want it, over `models` (for drawn people those that ship); raises `ModelError`."""
    from pipeline.vision.engine import OnnxEngine
    from pipeline.vision.models import SHIPPED
    from pipeline.vision.sessions import Execution

    vision = console.settings().vision
    return OnnxEngine.open(
        models or (SHIPPED if drawn else vision.models),
        Execution(gpu=vision.gpu, threads=vision.threads, precision=vision.precision),
        pad=pad,
        embedder=embedder,
        drawn=drawn or vision.drawn_models == "allowed",
    )


def rule_of(model: FmrModel, of_model: Mapping[str, float]) -> Rule:
    """The rule in force: the settings', for an embedder with these false match rates and these thresholds."""
    from pipeline.domain.fmr import Trials
    from pipeline.evaluate.in_force import Rule
    from pipeline.vision.thresholds import thresholds

    vision = console.settings().vision
    limits = thresholds(vision, of_model)
    return Rule(
        model=model,
        match=limits.match,
        margin=limits.margin,
        trials=Trials(frames=vision.patience, attempts=vision.max_attempts),
        max_fpir=vision.max_fpir,
    )


def _false_matches(
    comparisons: Comparisons, data: str, engine: OnnxEngine, calibration: Path | None
) -> FmrModel | None:
    """What these comparisons say of the embedder's false matches, written to `calibration` where that is wanted; None
    where they are too few to say anything, which is a `UsageError` for who wants it written."""
    from pipeline.evaluate.calibration import calibrate
    from pipeline.vision.models import known
    from pipeline.vision.thresholds import as_toml

    try:
        measured = calibrate(comparisons, data)
    except UsageError:
        if calibration is not None:
            raise
        return None
    spec = known(engine.embedder_sha256)
    if calibration is not None and spec is not None:
        written(calibration, as_toml(spec.name, spec.sha256, measured))
    return measured


def written(path: Path, text: str) -> None:
    """A file of a command's; raises `UsageError` where it cannot be written."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"writing {path}: {error.strerror}; name a file in a folder that is there") from None


def sight(engine: OnnxEngine, files: Mapping[str, Path], rows: Sequence[Labels], *, gated: bool) -> list[Sighting]:
    """Every picture of the index, with a bar on a terminal; raises `UsageError` when none can be read."""
    from pipeline.evaluate.gate import refused
    from pipeline.evaluate.sightings import look

    vision = console.settings().vision

    def refuse(face: Face) -> str:
        return refused(face, vision) if gated else ""

    sightings = list(
        track(
            look(engine, files, rows, refuse),
            "Looking at faces",
            total=len(rows),
            console=console.err,
            disable=not console.err.is_terminal,
        )
    )
    if all(s.outcome == "unreadable" for s in sightings):
        raise UsageError(f"looking at {len(rows)} pictures: none can be read; the first says: {sightings[0].why}")
    return sightings


def _about(engine: OnnxEngine, sightings: Sequence[Sighting], started: float) -> dict[str, Any]:
    from pipeline.evaluate.gate import refused
    from pipeline.evaluate.intervals import LEVEL
    from pipeline.evaluate.resampling import SEED
    from pipeline.evaluate.sightings import counted

    counts = counted(sightings)
    vision = console.settings().vision
    at_a_terminal = Counter(refused(s.face, vision) for s in sightings if s.face is not None)
    readable = len(sightings) - counts["unreadable"]
    return {
        "pictures": len(sightings),
        "failures": {
            "unreadable": counts["unreadable"],
            "to_detect": counts["not_detected"],
            "to_acquire": counts["not_acquired"],
            "with_several_faces": counts["with_several_faces"],
        },
        "failure_to_detect": _share(counts["not_detected"], readable),
        "failure_to_acquire": _share(counts["not_acquired"], readable - counts["not_detected"]),
        "refused_at_a_terminal": {why: count for why, count in at_a_terminal.items() if why},
        "failed": [{"file": s.file, "outcome": s.outcome, "error": s.why} for s in sightings if s.outcome != "seen"],
        "interval": {"level": LEVEL, "seed": SEED},
        "model_sha256": engine.embedder_sha256,
        "providers": engine.providers,
        "drawn": engine.drawn,
        "seconds": round(time.perf_counter() - started, 2),
    }


def _share(errors: int, trials: int) -> dict[str, Any]:
    from pipeline.evaluate.intervals import binomial

    return {"rate": errors / trials if trials else None, "ci": binomial(errors, trials), "of": trials}


def _liveness_row(sighting: Sighting, threshold: float) -> dict[str, Any]:
    from pipeline.evaluate.liveness import is_live, score_of

    score = score_of(sighting)
    face = sighting.face
    return {
        "file": sighting.file,
        "label": sighting.labels["label"],
        "outcome": sighting.outcome,
        "live": None if face is None or face.live is None else dict(face.live),
        "said_live": None if score is None else score >= threshold,
        "right": None if score is None else (score >= threshold) == is_live(sighting),
        "eyes_open": None if face is None else face.eyes_open,
    }
