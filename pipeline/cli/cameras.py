"""`facepay cameras`: which cameras see which lane, where in their picture the payer stands, and their credentials."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from pipeline.cli import console
from pipeline.cli.console import JsonFlag
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from pipeline.keys.devices import Camera

app = typer.Typer(help="Cameras: register them, list them, give them credentials, remove them.", no_args_is_help=True)


class Modality(StrEnum):
    """What a camera sees with."""

    RGB = "rgb"
    IR = "ir"
    DEPTH = "depth"


@app.command()
def add(
    camera: Annotated[str, typer.Argument(help="The camera's id.")],
    terminal: Annotated[str, typer.Option(help="The terminal whose lane it sees; it must be registered.")],
    modality: Annotated[Modality, typer.Option(help="What it sees with.")] = Modality.RGB,
    zone: Annotated[
        str | None,
        typer.Option(
            help="Where the payer stands: the corners of a polygon as 'x,y x,y x,y ...', shares of the picture, "
            "0,0 its upper left corner; default: the whole picture."
        ),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Register a camera, or change what is known of it; it keeps its credentials unless it moves to another lane."""
    from pipeline.keys.devices import Camera, DeviceRegistry
    from pipeline.keys.keyring import Keyring

    keyring = Keyring.open(console.settings().keys.directory)
    added = DeviceRegistry(keyring.folder).add(Camera(camera, terminal, modality.value, _corners(zone)))
    said = f"{camera} sees the lane of {terminal}. Next: facepay cameras provision {camera} FILE"
    console.finish(_shown(added), as_json=json, show=lambda: console.out.print(said, highlight=False, soft_wrap=True))


@app.command(name="list")
def listed(
    terminal: Annotated[str | None, typer.Option(help="Only the cameras of that terminal's lane.")] = None,
    json: JsonFlag = False,
) -> None:
    """List the registered cameras."""
    from pipeline.keys.devices import DeviceRegistry
    from pipeline.keys.keyring import Keyring

    devices = DeviceRegistry(Keyring.open(console.settings().keys.directory).folder)
    known = devices.all() if terminal is None else devices.of_terminal(terminal)

    def show() -> None:
        table = Table("camera", "terminal", "modality", "zone")
        for each in known:
            corners = " ".join(f"{x:g},{y:g}" for x, y in each.zone)
            table.add_row(each.camera_id, each.terminal_id, each.modality, corners or "whole picture")
        if known:
            console.show_table(table)
        else:
            console.out.print("No camera is registered.")

    console.finish({"cameras": [_shown(each) for each in known]}, as_json=json, show=show)


@app.command()
def remove(
    camera: Annotated[str, typer.Argument(help="A registered camera.")],
    json: JsonFlag = False,
) -> None:
    """Remove a camera: it gets no lease any more, its frames are refused, and its token never holds again."""
    from pipeline.keys.devices import DeviceRegistry
    from pipeline.keys.keyring import Keyring

    keyring = Keyring.open(console.settings().keys.directory)
    if not DeviceRegistry(keyring.folder).remove(camera):
        raise UsageError(f"removing {camera}: it is not registered; see `facepay cameras list`")
    said = f"{camera} is removed. If it was stolen, begin a new frame epoch too: facepay keys epoch"
    result = {"camera_id": camera, "removed": True}
    console.finish(result, as_json=json, show=lambda: console.out.print(said, highlight=False, soft_wrap=True))


@app.command()
def provision(
    camera: Annotated[str, typer.Argument(help="A registered camera.")],
    file: Annotated[Path, typer.Argument(help="Where the credentials go (mode 0600); keep them as you keep a key.")],
    renew: Annotated[bool, typer.Option("--renew", help="Give it another token; the one it had is worthless.")] = False,
    json: JsonFlag = False,
) -> None:
    """Write a camera's credentials: its own token for the gateway and the frame keys of its lane."""
    from pipeline.keys.credentials import provision_camera
    from pipeline.keys.devices import DeviceRegistry
    from pipeline.keys.keyring import Keyring

    keyring = Keyring.open(console.settings().keys.directory)
    devices = DeviceRegistry(keyring.folder)
    known = devices.get(camera)
    if known is None:
        raise UsageError(f"provisioning {camera}: it is not registered; run `facepay cameras add` first")
    if renew:
        known = devices.add(known, renew=True)
    epochs = keyring.frame_epochs()
    provision_camera(keyring, known, epochs).write(file)
    result = {
        "camera_id": camera,
        "terminal_id": known.terminal_id,
        "file": str(file),
        "frame_epochs": list(epochs),
        "renewed": renew,
    }
    said = (
        f"{file} holds the token of {camera} and the frame keys of {known.terminal_id} for epochs "
        f"{', '.join(map(str, epochs))}."
    )
    console.finish(result, as_json=json, show=lambda: console.out.print(said, highlight=False, soft_wrap=True))


def _corners(text: str | None) -> tuple[tuple[float, float], ...]:
    """The corners in a text like `0.1,0.2 0.9,0.2 0.5,1`; whether they make a polygon is the registry's to say."""
    corners = []
    for part in (text or "").split():
        x, comma, y = part.partition(",")
        try:
            corners.append((float(x), float(y)))
        except ValueError:
            comma = ""
        if not comma:
            raise UsageError(f"reading the zone: {part!r} is no corner; write each as x,y, for example 0.1,0.2")
    return tuple(corners)


def _shown(camera: Camera) -> dict[str, Any]:
    """A camera as JSON."""
    return {
        "camera_id": camera.camera_id,
        "terminal_id": camera.terminal_id,
        "modality": camera.modality,
        "zone": [list(corner) for corner in camera.zone],
    }
