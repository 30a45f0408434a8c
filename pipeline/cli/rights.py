"""`facepay erase` and `facepay consent`: what a payer may ask for at any time."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Annotated

import typer

from pipeline.cli import console
from pipeline.cli.console import JsonFlag
from pipeline.cli.enrol import OperatorOption, known_payer, operator_named, warnings_only

app = typer.Typer(help="What a payer has agreed to: show it, take it back.", no_args_is_help=True)

PayerArgument = Annotated[str, typer.Argument(help="The payer's id, as enrolling printed it.", metavar="PAYER")]


def erase(payer: PayerArgument, operator: OperatorOption = None, json: JsonFlag = False) -> None:
    """Erase a payer everywhere, and prove it: each place, and after how many seconds it was empty."""
    _erase(payer, operator, withdrawn=False, json=json)


@app.command()
def withdraw(payer: PayerArgument, operator: OperatorOption = None, json: JsonFlag = False) -> None:
    """Note that the payer withdrew the consent, and erase the payer."""
    _erase(payer, operator, withdrawn=True, json=json)


@app.command()
def show(payer: PayerArgument, json: JsonFlag = False) -> None:
    """Show whether the payer's consent stands, and the journal of who did what to the payer's data."""
    from rich.table import Table

    from pipeline.domain.consent import first_fault, standing
    from pipeline.gallery.journal import read_chain

    noted = read_chain(console.settings().kafka, known_payer(payer, "showing a consent"))
    entries = [each.entry for each in noted]
    consent = standing(entries)
    fault = first_fault(entries, [each.raw for each in noted])
    result = {
        "payer_id": payer,
        "consent": None
        if consent is None
        else {"text": consent.text_version, "sha256": consent.text_sha256, "purposes": list(consent.purposes)},
        "chain": "ok" if fault is None else f"broken at entry {fault[0] + 1}: {fault[1]}",
        "entries": [
            {"what": e.what, "who": e.who, "at_us": e.at_us, "templates": e.templates, "sequence": e.sequence}
            for e in entries
        ],
    }

    def show_it() -> None:
        if consent is None:
            console.note("no consent stands")
        else:
            console.out.print(f"consent to {consent.text_version} for {', '.join(consent.purposes)}", highlight=False)
        table = Table("what", "who", "when (UTC)", "templates")
        for entry in entries:
            when = datetime.fromtimestamp(entry.at_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S")
            table.add_row(entry.what, entry.who, when, "" if entry.templates is None else str(entry.templates))
        console.show_table(table)
        if fault is not None:
            console.note(f"the journal of this payer is broken at entry {fault[0] + 1} ({fault[1]})")

    console.finish(result, as_json=json, show=show_it, ok=fault is None)


def _erase(payer: str, operator: str | None, *, withdrawn: bool, json: bool) -> None:
    from rich.table import Table

    from pipeline.gallery.erasure import Erasure
    from pipeline.gallery.hot.eraser import HotEraser
    from pipeline.gallery.journal import Journal
    from pipeline.gallery.protect.data_keys import open_data_keys
    from pipeline.keys.keyring import Keyring
    from pipeline.runtime.admin import identity
    from pipeline.topics import GALLERY, JOURNAL, PAYERS

    settings = console.settings()
    warnings_only(settings, "erase")
    payer_id, who = known_payer(payer, "erasing"), operator_named(settings, operator)
    keyring = Keyring.open(settings.keys.directory)
    identity(settings.kafka, (GALLERY, PAYERS, JOURNAL))
    data_keys = open_data_keys(keyring, settings.gallery.data_keys_url)
    try:
        with Journal(settings.kafka, who, _now_us) as journal:
            erasure = Erasure(
                settings.kafka,
                data_keys,
                journal,
                _now_us,
                hot=HotEraser(settings.redis, settings.hot, keyring) if settings.hot.mode == "on" else None,
                snapshots=settings.gallery.snapshot,
            )
            erased = erasure.erase(payer_id, withdrawn=withdrawn)
    finally:
        data_keys.close()

    def show_it() -> None:
        table = Table("place", "gone", "after (s)", "what to do")
        for place in erased.places:
            table.add_row(place.name, "yes" if place.gone else "NO", f"{place.seconds:.2f}", place.remedy)
        console.show_table(table)
        if not erased.known:
            console.note("nothing was ever known of this payer: check the id")

    places = [
        {"name": place.name, "gone": place.gone, "seconds": place.seconds}
        | ({} if place.gone else {"remedy": place.remedy})
        for place in erased.places
    ]
    result = {"payer_id": payer_id, "places": places, "templates": erased.templates, "known": erased.known}
    console.finish(result, as_json=json, show=show_it, ok=erased.complete)


def _now_us() -> int:
    return time.time_ns() // 1000
