"""`facepay keys`: the keyring of an installation, and the epochs of its frame keys."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.cli import console
from pipeline.cli.console import JsonFlag
from pipeline.errors import UsageError

app = typer.Typer(help="The keyring: make it, begin and destroy epochs of frame keys.", no_args_is_help=True)


@app.command()
def init(json: JsonFlag = False) -> None:
    """Make the keyring, or whatever secret it lacks; existing secrets stay as they are."""
    from pipeline.keys.keyring import Keyring

    keyring = Keyring.create(console.settings().keys.directory)
    _finish(f"The keyring {keyring.folder} is complete.", keyring.frame_epochs(), json=json)


@app.command()
def epoch(json: JsonFlag = False) -> None:
    """Begin a new epoch of frame keys; set FACEPAY_KEYS__FRAME_EPOCH to it once every terminal has its new key."""
    from pipeline.keys.keyring import Keyring

    keyring = Keyring.open(console.settings().keys.directory)
    made = keyring.new_frame_epoch()
    _finish(f"Epoch {made} begins; provision the terminals again before it is used.", keyring.frame_epochs(), json=json)


@app.command()
def shred(
    number: Annotated[int, typer.Argument(min=1, metavar="EPOCH", help="The epoch to destroy.")],
    json: JsonFlag = False,
) -> None:
    """Destroy the root of an old epoch: no frame of it can ever be opened again, wherever a copy lies."""
    from pipeline.keys.keyring import Keyring

    settings = console.settings()
    if number == settings.keys.frame_epoch:
        raise UsageError(f"destroying epoch {number}: it is the one in force; set FACEPAY_KEYS__FRAME_EPOCH first")
    keyring = Keyring.open(settings.keys.directory)
    keyring.destroy_frame_epoch(number)
    _finish(f"The frames of epoch {number} are shredded.", keyring.frame_epochs(), json=json)


@app.command()
def rewrap(json: JsonFlag = False) -> None:
    """Wrap every payer's data key under a new key-encryption key, then destroy the old one: no older backup of the data
    keys can be opened any more. Killed, it is run again and goes on."""
    from pipeline.gallery.protect.data_keys import open_data_keys, rewrap_all
    from pipeline.keys.keyring import Keyring

    settings = console.settings()
    keyring = Keyring.open(settings.keys.directory)
    data_keys = open_data_keys(keyring, settings.gallery.data_keys_url)
    try:
        count = rewrap_all(keyring, data_keys)
    finally:
        data_keys.close()
    version = keyring.version("kek")
    console.finish(
        {"kek": version, "rewrapped": count},
        as_json=json,
        show=lambda: console.out.print(
            f"{count} data keys are wrapped under version {version}; the older ones are destroyed.", highlight=False
        ),
    )


def _finish(said: str, epochs: tuple[int, ...], *, json: bool) -> None:
    def show() -> None:
        console.out.print(f"{said} Frame epochs held: {', '.join(map(str, epochs))}.", highlight=False, soft_wrap=True)

    console.finish({"frame_epochs": list(epochs)}, as_json=json, show=show)
