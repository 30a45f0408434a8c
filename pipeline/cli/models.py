"""`facepay models`: which model files are known, which are here, and whether they are what they should be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from pipeline.cli import console
from pipeline.cli.console import JsonFlag

if TYPE_CHECKING:
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
    store = ModelStore.open(folder) if models is not None or folder.is_dir() else None
    _finish(known_models(store), folder, json=json)


@app.command()
def verify(models: ModelsOption = None, json: JsonFlag = False) -> None:
    """Load every model of the folder and hold it to its contract; exit 1 if one fails or a needed one is absent."""
    from pipeline.vision.models import ModelStore
    from pipeline.vision.sessions import Execution
    from pipeline.vision.verification import verified_models

    vision = console.settings().vision
    folder = models or vision.models
    reports = verified_models(ModelStore.open(folder), Execution(gpu=vision.gpu, threads=vision.threads))
    _finish(reports, folder, json=json, ok=all(report.ok for report in reports))


def _finish(reports: Sequence[ModelReport], folder: Path, *, json: bool, ok: bool = True) -> None:
    def show() -> None:
        table = Table("model", "role", "ok", "sha256", "licence", title=f"{folder}", title_justify="left")
        for report in reports:
            mark = "[green]yes[/green]" if report.ok else "[red]no[/red]"
            table.add_row(report.name, report.role, mark, report.sha256[:12], report.licence)
        console.show_table(table)
        for report in reports:
            said = f"{report.found}. {report.training_terms}".strip()
            console.out.print(f"{report.name}: {said}", highlight=False, markup=False)

    result = {"models": [asdict(report) for report in reports], "folder": str(folder)}
    console.finish(result, as_json=json, show=show, ok=ok)
