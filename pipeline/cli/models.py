"""`facepay models`: which model files are known, which are here, and whether they are what they should be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from pipeline.cli import console
from pipeline.cli.console import JsonFlag

if TYPE_CHECKING:
    from pipeline.vision.models import ModelSpec
    from pipeline.vision.verification import ModelReport

app = typer.Typer(help="Model files: known by hash, with licence and terms.", no_args_is_help=True)

ModelsOption = Annotated[
    Path | None, typer.Option("--models", help="Folder of ONNX files; default: the setting vision.models.")
]


@app.command("list")
def list_models(models: ModelsOption = None, json: JsonFlag = False) -> None:
    """List every known model; ok says whether the folder holds it."""
    from pipeline.vision.models import ModelStore
    from pipeline.vision.verification import known_models

    folder = models or console.settings().vision.models
    # Before any model was fetched the default folder is not there: then the list is what there is to fetch.
    store = ModelStore.open(folder, drawn=True) if models is not None or folder.is_dir() else None
    _finish(known_models(store), folder, json=json)


@app.command("pull")
def pull_models(
    names: Annotated[
        list[str] | None, typer.Argument(help="Names of models; default: every model for real people.")
    ] = None,
    models: ModelsOption = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--from", help="A folder that holds the files, or a mirror's http(s) prefix; default: the sources."
        ),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Fetch model files into the folder, verified by SHA-256; exit 1 if nobody publishes one, 3 if a download fails."""
    from pipeline.local.weights import pull
    from pipeline.vision.verification import report

    folder = models or console.settings().vision.models
    pulled = pull(_named(names), folder, source)
    reports = [report(one.spec, one.spec.file if one.ok else None, ok=one.ok, found=one.found) for one in pulled]
    failed = any(one.state == "failed" for one in pulled)
    _finish(reports, folder, json=json, ok=all(one.ok for one in pulled), code=3 if failed else 1)


def _named(names: Sequence[str] | None) -> list[ModelSpec]:
    """The models of these names; without names, all that are not for drawn people."""
    from pipeline.errors import UsageError
    from pipeline.vision.models import manifest

    by_name = {spec.name: spec for spec in manifest()}
    unknown = [name for name in names or () if name not in by_name]
    if unknown:
        raise UsageError(f"looking for the model {unknown[0]}: no known model has this name; see `facepay models list`")
    return [by_name[name] for name in names] if names else [spec for spec in manifest() if not spec.drawn]


@app.command()
def verify(models: ModelsOption = None, json: JsonFlag = False) -> None:
    """Load every model of the folder and hold it to its contract; exit 1 if one fails or a needed one is absent."""
    from pipeline.vision.models import ModelStore
    from pipeline.vision.sessions import Execution
    from pipeline.vision.verification import verified_models

    vision = console.settings().vision
    folder = models or vision.models
    # Held to its contract is also what may not be used: whether it may is the setting's question.
    store = ModelStore.open(folder, drawn=True)
    reports = verified_models(store, Execution(gpu=vision.gpu, threads=vision.threads))
    _finish(reports, folder, json=json, ok=all(report.ok for report in reports))


@app.command()
def quantise(
    name: Annotated[str, typer.Argument(help="Name of an embedder, as `facepay models list` says it.")],
    images: Annotated[Path, typer.Option(help="Folder of pictures with a face each, JPEG or PNG.")],
    said: Annotated[str, typer.Option("--as", help="What the pictures are, for the recipe.")] = "pictures of your own",
    every: Annotated[int, typer.Option(min=2, help="Every n-th picture gives ranges; the rest are judged.")] = 4,
    float_first: Annotated[int, typer.Option(min=0, help="Convolutions at the start that stay in float32.")] = 2,
    float_last: Annotated[int, typer.Option(min=0, help="Convolutions at the end that stay in float32.")] = 3,
    out: Annotated[Path | None, typer.Option(help="Write the recipe, a table of int8.toml, to this file.")] = None,
    models: ModelsOption = None,
    json: JsonFlag = False,
) -> None:
    """Measure an embedder's ranges for 8-bit integers, their cost and gain; exit 1 if a cosine is below 0.99."""
    from pipeline.vision.calibration import BATCH, calibrate
    from pipeline.vision.models import ModelStore
    from pipeline.vision.quantise import as_toml

    store = ModelStore.open(models or console.settings().vision.models)
    pictures = sorted(path for path in images.rglob("*") if path.suffix.lower() in {".jpg", ".jpeg", ".png"})
    found = calibrate(store, name, pictures, every=every, float_first=float_first, float_last=float_last, said=said)
    if out is not None:
        out.write_text(as_toml(found.recipe), encoding="utf-8")
    result = {key: getattr(found, key) for key in ("faces", "least_cosine", "mean_cosine", "speedup")}

    def show() -> None:
        console.out.print(
            f"{name} in 8-bit integers over {found.faces} faces: cosine with float32 at least "
            f"{found.least_cosine:.4f}, mean {found.mean_cosine:.4f}; {found.speedup:.2f} times as fast in batches of "
            f"{BATCH}"
        )

    console.finish(result, as_json=json, show=show, ok=found.least_cosine >= 0.99)


def _finish(
    reports: Sequence[ModelReport], folder: Path, *, json: bool, ok: bool = True, code: Literal[1, 3] = 1
) -> None:
    """Prints the table or the JSON; where the answer is no (`ok` False) the exit code is `code`."""

    def show() -> None:
        table = Table("model", "role", "people", "ok", "sha256", "licence", title=f"{folder}", title_justify="left")
        for report in reports:
            mark = "[green]yes[/green]" if report.ok else "[red]no[/red]"
            people = "[bold yellow]DRAWN[/bold yellow]" if report.drawn else "real"
            table.add_row(report.name, report.role, people, mark, report.sha256[:12], report.licence)
        console.show_table(table)
        for report in reports:
            said = f"{report.found}. {report.training_terms}".strip()
            console.out.print(f"{report.name}: {said}", highlight=False, markup=False)

    result = {"models": [asdict(report) for report in reports], "folder": str(folder)}
    console.finish(result, as_json=json, show=show, ok=ok or code != 1)
    if not ok:
        raise typer.Exit(code)
