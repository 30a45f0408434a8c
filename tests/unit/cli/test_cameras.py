"""`facepay cameras`: register, list, provision, renew and remove, as a person types it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner

from pipeline.cli.cameras import app
from pipeline.errors import FacepayError, SettingsError, UsageError
from pipeline.keys.credentials import CameraCredentials
from pipeline.keys.devices import Camera, DeviceRegistry, is_camera_token
from pipeline.keys.keyring import Keyring
from pipeline.keys.terminals import Terminal, TerminalRegistry


class Shell:
    """The commands over a keyring of this test's own."""

    def __init__(self, keyring: Keyring) -> None:
        self.keyring = keyring
        self.devices = DeviceRegistry(keyring.folder)

    def __call__(self, *arguments: str) -> Any:
        """The JSON object of a command; raises what it raises."""
        done = CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=True)
        if isinstance(done.exception, FacepayError):
            raise done.exception
        assert done.exit_code == 0, done.output
        return orjson.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    keyring = Keyring.create(tmp_path / "keys")
    for name in ("till-1", "till-2"):
        TerminalRegistry(keyring.folder).add(Terminal(name, "shop", "shop-main", "EUR"))
    monkeypatch.setenv("FACEPAY_KEYS__DIRECTORY", str(keyring.folder))
    return Shell(keyring)


def test_a_camera_is_registered_and_listed(shell: Shell) -> None:
    """What was typed is what the registry holds and the list says; adding again changes it."""
    added = shell("add", "left", "--terminal", "till-1", "--modality", "ir", "--zone", "0.1,0.2 0.9,0.2 0.5,1")
    zone = ((0.1, 0.2), (0.9, 0.2), (0.5, 1.0))
    assert shell.devices.all() == (Camera("left", "till-1", "ir", zone),)
    shown = {"camera_id": "left", "terminal_id": "till-1", "modality": "ir", "zone": [list(xy) for xy in zone]}
    assert added == shown
    shell("add", "right", "--terminal", "till-2")
    assert [each["camera_id"] for each in shell("list")["cameras"]] == ["left", "right"]
    assert shell("list", "--terminal", "till-1")["cameras"] == [shown]
    shell("add", "left", "--terminal", "till-2")
    assert shell.devices.get("left") == Camera("left", "till-2")


def test_credentials_are_written_and_renewed(shell: Shell, tmp_path: Path) -> None:
    """Provisioned twice a camera has the same token; renewed it has another one, and the first is worthless. The JSON
    shows neither token nor key."""
    shell("add", "left", "--terminal", "till-1")
    result = shell("provision", "left", str(tmp_path / "1.json"))
    assert (result["terminal_id"], result["frame_epochs"], result["renewed"]) == ("till-1", [1], False)
    shell("provision", "left", str(tmp_path / "2.json"))
    renewed = shell("provision", "left", str(tmp_path / "3.json"), "--renew")
    first, second, third = (CameraCredentials.read(tmp_path / f"{number}.json") for number in (1, 2, 3))
    assert first == second
    assert first.frame_keys == third.frame_keys
    camera = shell.devices.get("left")
    assert camera is not None
    assert [is_camera_token(shell.keyring, camera, held.token) for held in (first, third)] == [False, True]
    assert third.token not in str(renewed)
    assert camera.registration not in str(renewed)


def test_a_removed_camera_is_gone(shell: Shell, tmp_path: Path) -> None:
    """It is listed no more and cannot be provisioned or removed again."""
    shell("add", "left", "--terminal", "till-1")
    assert shell("remove", "left") == {"camera_id": "left", "removed": True}
    assert shell("list") == {"cameras": []}
    for again in (("remove", "left"), ("provision", "left", str(tmp_path / "x.json"))):
        with pytest.raises(UsageError, match="it is not registered"):
            shell(*again)
    assert not (tmp_path / "x.json").exists()


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        (("left", "--terminal", "till-9"), SettingsError, "run `facepay terminals add` first"),
        (("left", "--terminal", "till-1", "--zone", "0.1,0.2 0.3"), UsageError, "'0.3' is no corner"),
        (("left", "--terminal", "till-1", "--zone", "a,b 0,1 1,1"), UsageError, "'a,b' is no corner"),
        (("left", "--terminal", "till-1", "--zone", "0,0 1,1"), SettingsError, "its zone has 2 corners"),
        (("left", "--terminal", "till-1", "--zone", "0,0 1,1 1,0 0,1"), SettingsError, "crosses or touches itself"),
        (("left", "--terminal", "till-1", "--zone", "0,0 100,0 1,1"), SettingsError, "outside the picture"),
    ],
)
def test_what_cannot_be_registered_says_why(
    shell: Shell, arguments: tuple[str, ...], error: type[FacepayError], says: str
) -> None:
    """Wrong use: one sentence, exit code 2, and nothing is registered."""
    with pytest.raises(error, match=says) as raised:
        shell("add", *arguments)
    assert raised.value.exit_code == 2
    assert shell.devices.all() == ()
