"""A terminal that is asked for digits: the same order again, with the claim, and an end to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadtests.people.visits import Kind
from tests.unit.loadtests.test_terminal import PHONE, Scripted, ends, hint, names, serve, verdict


def opens(gateway: Scripted) -> list[tuple[str, object]]:
    """Order and claim of each intent that was asked for."""
    return [(body["merchant_order_id"], body.get("claim")) for name, body, _ in gateway.asked if name == "open"]


def test_who_is_asked_for_digits_types_them(picture: Path) -> None:
    """The same order is opened again with the claim, under a key of its own; each older intent is remembered, and the
    visit ends with the newest one's outcome."""
    script = [
        ("", hint("enter_last_four", final=True)),
        ("", hint("enter_number", final=True)),
        ("", verdict("approve")),
        ("", ends("settled")),
    ]
    gateway = Scripted(script)
    record, _ = serve(gateway, Kind.PLAIN, picture)
    assert record.state == "settled"
    orders, claims = zip(*opens(gateway), strict=True)
    assert claims == (None, {"last_four": PHONE[-4:]}, {"phone": PHONE})
    assert len(set(orders)) == 1
    keys = [key for name, _, key in gateway.asked if name == "open"]
    assert len(set(keys)) == 3
    assert len(record.superseded) == 2
    assert len(record.intent_ids) == 3
    assert "cancel" not in names(gateway)


@pytest.mark.parametrize("refused", [True, False])
def test_claims_come_to_an_end(picture: Path, refused: bool) -> None:
    """Whoever is refused a claim, or is asked for ever, pays another way."""
    script = [("", hint("enter_last_four", final=True)) for _ in range(1 if refused else 3)]
    gateway = Scripted([*script, ("cancel", ends("cancelled"))], claims_refused=refused)
    record, _ = serve(gateway, Kind.PLAIN, picture)
    assert record.state == "cancelled"
    assert len(opens(gateway)) == (2 if refused else 3)
    assert ("claim refused" in {moment.what for moment in record.moments}) is refused


def test_a_stranger_has_no_digits_to_type(picture: Path) -> None:
    """Who is not enrolled pays another way."""
    gateway = Scripted([("", hint("enter_last_four", final=True)), ("cancel", ends("cancelled"))])
    record, _ = serve(gateway, Kind.STRANGER, picture, stranger=True)
    assert (record.state, len(opens(gateway))) == ("cancelled", 1)
