"""`facepay terminals`: who may ask for payments, and the credentials that a terminal holds."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from pipeline.cli import console
from pipeline.cli.console import JsonFlag
from pipeline.errors import UsageError

app = typer.Typer(help="Terminals: register them, list them, give them their credentials.", no_args_is_help=True)


@app.command()
def add(
    terminal: Annotated[str, typer.Argument(help="The terminal's id: a lane of its own.")],
    merchant: Annotated[str, typer.Option(help="Who runs it; order ids are unique per merchant.")],
    payee: Annotated[str, typer.Option(help="Whose account is credited.")],
    currency: Annotated[str, typer.Option(help="ISO 4217 code of what it collects.")],
    json: JsonFlag = False,
) -> None:
    """Register a terminal, or change what is known of it."""
    from pipeline.keys.keyring import Keyring
    from pipeline.keys.terminals import Terminal, TerminalRegistry

    keyring = Keyring.open(console.settings().keys.directory)
    TerminalRegistry(keyring.folder).add(Terminal(terminal, merchant, payee, currency))
    result = {"terminal_id": terminal, "merchant_id": merchant, "payee_id": payee, "currency": currency}
    said = f"{terminal} collects {currency} for {payee}. Next: facepay terminals provision {terminal} FILE"
    console.finish(result, as_json=json, show=lambda: console.out.print(said, highlight=False, soft_wrap=True))


@app.command(name="list")
def listed(json: JsonFlag = False) -> None:
    """List the registered terminals."""
    from pipeline.keys.keyring import Keyring
    from pipeline.keys.terminals import TerminalRegistry

    keyring = Keyring.open(console.settings().keys.directory)
    known = TerminalRegistry(keyring.folder).all()

    def show() -> None:
        table = Table("terminal", "merchant", "payee", "currency")
        for each in known:
            table.add_row(each.terminal_id, each.merchant_id, each.payee_id, each.currency)
        if known:
            console.show_table(table)
        else:
            console.out.print("No terminal is registered.")

    console.finish({"terminals": [asdict(each) for each in known]}, as_json=json, show=show)


@app.command()
def provision(
    terminal: Annotated[str, typer.Argument(help="A registered terminal.")],
    file: Annotated[Path, typer.Argument(help="Where the credentials go (mode 0600); keep them as you keep a key.")],
    json: JsonFlag = False,
) -> None:
    """Write a terminal's credentials: its token for the gateway. It opens no frame; its cameras have their own."""
    from pipeline.keys.credentials import provision as credentials_of
    from pipeline.keys.keyring import Keyring
    from pipeline.keys.terminals import TerminalRegistry

    keyring = Keyring.open(console.settings().keys.directory)
    if TerminalRegistry(keyring.folder).get(terminal) is None:
        raise UsageError(f"provisioning {terminal}: it is not registered; run `facepay terminals add` first")
    credentials_of(keyring, terminal).write(file)
    result = {"terminal_id": terminal, "file": str(file)}
    said = f"{file} holds the token of {terminal}. Next: facepay cameras add CAMERA --terminal {terminal}"
    console.finish(result, as_json=json, show=lambda: console.out.print(said, highlight=False, soft_wrap=True))
