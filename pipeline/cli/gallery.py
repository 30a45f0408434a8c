"""`facepay gallery`: what stands on the gallery's topic, and a new key for it while it is in use."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli import console
from pipeline.cli.console import JsonFlag
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from pipeline.gallery.survey import Survey
    from pipeline.keys.keyring import Keyring

app = typer.Typer(help="The gallery: what it holds, and giving it a new key.", no_args_is_help=True)

Switch = Annotated[
    str | None,
    typer.Option(
        "--switch-to", help="Also say who would be lost if only this embedding model were used.", metavar="SHA256"
    ),
]


@app.command()
def status(switch_to: Switch = None, json: JsonFlag = False) -> None:
    """Templates and payers by embedding model and key version, data keys, and whether a switch of models loses anybody.

    Exits 1 if a re-key is unfinished, a record is damaged, or the switch asked for would lose a payer."""
    from pipeline.gallery.protect.data_keys import open_data_keys
    from pipeline.gallery.survey import survey
    from pipeline.keys.keyring import Keyring
    from pipeline.runtime.reader import read_topic
    from pipeline.topics import GALLERY

    if switch_to is not None and not re.fullmatch(r"[0-9a-f]{64}", switch_to):
        raise UsageError(f"looking at the gallery: {switch_to!r} is no sha256; pass 64 hexadecimal digits")
    settings = console.settings()
    keyring = Keyring.open(settings.keys.directory)
    data_keys = open_data_keys(keyring, settings.gallery.data_keys_url)
    try:
        counts = data_keys.counts()
    finally:
        data_keys.close()
    seen = survey(read_topic(settings.kafka, GALLERY, read_committed=False))
    result = _told(keyring, seen, counts)
    lost = None if switch_to is None else seen.lost(switch_to)
    if lost is not None:
        result["switch"] = {"to": switch_to, "kept": len(seen.payers(switch_to)), "lost": sorted(lost)}

    def show() -> None:
        from rich.table import Table

        table = Table("model", "key version", "templates", "payers")
        for (model, version), templates in sorted(seen.templates.items()):
            table.add_row(model[:12], str(version), str(templates), str(len(seen.payers(model))))
        console.show_table(table)
        if len(keyring.versions("gallery")) > 1:
            console.note("a re-key is under way or prepared: finish it with `facepay gallery rekey`")
        if lost:
            console.note(f"{len(lost)} payers have no template of that model: enrol them before the switch")

    unfinished = len(keyring.versions("gallery")) > 1
    console.finish(result, as_json=json, show=show, ok=not (unfinished or seen.damaged or lost))


def _told(keyring: Keyring, seen: Survey, data_keys: object) -> dict[str, object]:
    """What `status` prints as JSON."""
    models = sorted({model for model, _ in seen.templates})
    return {
        "key_versions": {
            "in_force": keyring.gallery_version,
            "held": list(keyring.versions("gallery")),
            "kek": keyring.version("kek"),
        },
        "models": {
            model: {
                "payers": len(seen.payers(model)),
                "payers_without": len(seen.lost(model)),
                "templates": {str(v): count for (m, v), count in sorted(seen.templates.items()) if m == model},
            }
            for model in models
        },
        "payers": len(seen.payers()),
        "templates": sum(seen.templates.values()),
        "damaged": seen.damaged,
        "data_keys": data_keys,
    }


@app.command()
def rekey(
    prepare: Annotated[
        bool, typer.Option("--prepare", help="Only make the next version, to be given to every machine first.")
    ] = False,
    settle_s: Annotated[
        float,
        typer.Option(
            "--settle", min=0, help="Seconds that an enrolment may take from sealing to confirmation.", metavar="S"
        ),
    ] = 60.0,
    drop_unreadable: Annotated[
        bool, typer.Option("--drop-unreadable", help="Give up templates that do not open, instead of stopping.")
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Give the live gallery a new key: every template is written anew, then the old keys are destroyed for good.

    Payments go on all the while. Killed, it is run again and goes on."""
    from pipeline.gallery.protect.data_keys import open_data_keys
    from pipeline.gallery.rekey import Rekey
    from pipeline.gallery.rekey import prepare as make_waiting
    from pipeline.keys.keyring import Keyring
    from pipeline.topics import GALLERY

    settings = console.settings()
    keyring = Keyring.open(settings.keys.directory)
    if prepare:
        version = make_waiting(keyring)
        said = f"Version {version} waits: copy the keyring to every machine, then run `facepay gallery rekey`."
        console.finish({"waiting": version}, as_json=json, show=lambda: console.out.print(said, highlight=False))
        return
    data_keys = open_data_keys(keyring, settings.gallery.data_keys_url)
    try:
        with console.err.status("re-keying the gallery", spinner="dots") as bar:
            done = Rekey(
                settings.kafka,
                keyring,
                data_keys,
                topic=GALLERY,
                settle_s=settle_s,
                drop_unreadable=drop_unreadable,
                said=lambda what, count: bar.update(f"re-keying the gallery: {what} ({count})"),
            ).run()
    finally:
        data_keys.close()

    def show() -> None:
        console.out.print(
            f"The gallery has key version {done.version}: {done.templates} templates, {done.rewritten} written anew; "
            f"{done.data_keys_destroyed} old data keys and version {', '.join(map(str, done.retired))} are destroyed.",
            highlight=False,
            soft_wrap=True,
        )

    console.finish(
        {
            "version": done.version,
            "retired": list(done.retired),
            "templates": done.templates,
            "rewritten": done.rewritten,
            "buried": dict(done.buried),
            "data_keys_destroyed": done.data_keys_destroyed,
        },
        as_json=json,
        show=show,
    )
