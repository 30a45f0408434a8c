"""The program `facepay`: assembles the commands, one module per command group.

Commands import what they need when they run, so that `facepay --help` and `facepay version` stay fast and work
without a GPU, a broker or a model.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli import (
    agent,
    audit,
    bench,
    camera,
    cameras,
    console,
    demo,
    doctor,
    embed,
    enrol,
    evaluate,
    evaluate_crowd,
    evaluate_protection,
    gallery,
    gateway,
    keys,
    models,
    rights,
    settings,
    terminals,
    topics,
    version,
)

TRY, RUN, OPERATE, RIGHTS, MEASURE = "Try", "Run", "Operate", "Rights", "Measure"

app = typer.Typer(
    name="facepay",
    help="Face payment as an event-driven pipeline: frames in, each payment settled exactly once.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def root(
    config: Annotated[
        Path | None,
        typer.Option(help="A TOML file of settings; FACEPAY_* variables win over it.", envvar="FACEPAY_CONFIG"),
    ] = None,
) -> None:
    """Face payment as an event-driven pipeline: frames in, each payment settled exactly once."""
    console.use_config(config)


app.command(rich_help_panel=TRY)(demo.demo)
app.command(rich_help_panel=TRY)(doctor.doctor)
app.command(rich_help_panel=TRY)(embed.embed)
app.add_typer(agent.app, name="agent", rich_help_panel=RUN)
app.command(rich_help_panel=RUN)(gateway.gateway)
app.command(rich_help_panel=RUN)(camera.camera)
app.add_typer(topics.app, name="topics", rich_help_panel=RUN)
app.add_typer(keys.app, name="keys", rich_help_panel=RUN)
app.add_typer(terminals.app, name="terminals", rich_help_panel=RUN)
app.add_typer(cameras.app, name="cameras", rich_help_panel=RUN)
app.add_typer(models.app, name="models", rich_help_panel=RUN)
app.command(rich_help_panel=OPERATE)(audit.audit)
app.command(rich_help_panel=OPERATE)(settings.settings)
app.command(rich_help_panel=OPERATE)(version.version)
app.add_typer(gallery.app, name="gallery", rich_help_panel=OPERATE)
app.command(rich_help_panel=RIGHTS)(enrol.enrol)
app.add_typer(rights.app, name="consent", rich_help_panel=RIGHTS)
app.command(rich_help_panel=RIGHTS)(rights.erase)
app.command(rich_help_panel=MEASURE)(bench.bench)
evaluate.app.command("crowd")(evaluate_crowd.crowd)
evaluate.app.command("protection")(evaluate_protection.protection)
app.add_typer(evaluate.app, name="evaluate", rich_help_panel=MEASURE)
