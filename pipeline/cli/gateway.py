"""`facepay gateway`: the HTTP API for terminals."""

from __future__ import annotations

import typer

from pipeline.cli import console


def gateway() -> None:
    """Serve the HTTP API until Ctrl-C or SIGTERM."""
    from pipeline.bootstrap import run_gateway

    raise typer.Exit(run_gateway(console.settings()))
