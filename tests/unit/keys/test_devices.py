"""The registry of cameras: what is registered, what is refused, and what another process sees of it."""

from __future__ import annotations

import multiprocessing
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.errors import SettingsError
from pipeline.keys.devices import Camera, DeviceRegistry
from pipeline.keys.keyring import Keyring
from pipeline.keys.terminals import TerminalRegistry

ZONE = ((0.1, 0.2), (0.9, 0.2), (0.9, 1.0), (0.1, 1.0))


@pytest.fixture
def devices(keyring: Keyring, registry: TerminalRegistry) -> DeviceRegistry:
    """Two cameras on one lane, none on the other."""
    assert registry.get("t-1")
    devices = DeviceRegistry(keyring.folder)
    devices.add(Camera("cam-b", "t-1", "ir", ZONE))
    devices.add(Camera("cam-a", "t-1"))
    return devices


def test_a_camera_is_found_as_registered(devices: DeviceRegistry, keyring: Keyring) -> None:
    """By its name, by its lane and in the list, also by another process; an unknown one is None."""
    for seen in (devices, DeviceRegistry(keyring.folder)):
        assert seen.get("cam-b") == Camera("cam-b", "t-1", "ir", ZONE)
        assert seen.get("cam-a") == Camera("cam-a", "t-1", "rgb", ())
        assert seen.get("cam-c") is None
        assert [camera.camera_id for camera in seen.all()] == ["cam-a", "cam-b"]
        assert seen.of_terminal("t-1") == seen.all()
        assert seen.of_terminal("t-2") == ()


def test_an_open_registry_sees_changes(devices: DeviceRegistry, keyring: Keyring) -> None:
    """Cameras that another process adds, moves or removes count at the next look."""
    other = DeviceRegistry(keyring.folder)
    other.add(Camera("cam-c", "t-2", "depth"))
    assert devices.get("cam-c") == Camera("cam-c", "t-2", "depth")
    other.add(Camera("cam-a", "t-2", "rgb", ZONE))
    assert devices.of_terminal("t-2") == (Camera("cam-a", "t-2", "rgb", ZONE), Camera("cam-c", "t-2", "depth"))
    assert other.remove("cam-a") is True
    assert devices.get("cam-a") is None
    assert other.remove("cam-a") is False


def test_the_file_is_private_and_there_only_when_needed(keyring: Keyring, registry: TerminalRegistry) -> None:
    """Without a camera there is no file and no camera; with one the file is its owner's alone."""
    assert registry.all()
    devices = DeviceRegistry(keyring.folder)
    assert devices.all() == ()
    devices.add(Camera("cam-a", "t-1"))
    assert stat.S_IMODE((keyring.folder / "cameras.json").stat().st_mode) == 0o600
    Keyring.open(keyring.folder)


def test_a_registration_is_drawn_once(devices: DeviceRegistry) -> None:
    """A change keeps a camera's registration, whatever the caller says it is; renewing it, or removing and adding the
    camera again, draws another one."""
    first = devices.get("cam-a")
    assert first is not None
    assert len(first.registration) == 32
    moved = devices.add(replace(first, terminal_id="t-2", registration="0" * 32))
    assert moved.registration == first.registration
    renewed = devices.add(first, renew=True)
    devices.remove("cam-a")
    again = devices.add(first)
    assert len({first.registration, renewed.registration, again.registration}) == 3
    assert devices.get("cam-a") == again


@pytest.mark.parametrize(
    ("camera", "says"),
    [
        (Camera("", "t-1"), "camera_id"),
        (Camera("a camera", "t-1"), "camera_id"),
        (Camera("c\n", "t-1"), "camera_id"),
        (Camera("c", "t-9"), "terminal t-9 is not registered"),
        (Camera("c", "t-1", "uv"), "modality"),  # type: ignore[arg-type]
        (Camera("c", "t-1", "rgb", ((0.1, 0.1), (0.9, 0.9))), "its zone has 2 corners"),
        (Camera("c", "t-1", "rgb", ((0, 0), (1, 1), (1, 0), (0, 1))), "its zone crosses or touches itself"),
        (Camera("c", "t-1", "rgb", ((0, 0), (2, 0), (1, 1))), "its zone has a corner outside the picture"),
        (Camera("c", "t-1", "rgb", ((0, float("nan")), (1, 0), (1, 1))), "zone"),
    ],
)
def test_a_camera_that_cannot_be_is_refused(devices: DeviceRegistry, camera: Camera, says: str) -> None:
    """Names, modality, zone and terminal are checked, and what was registered stays as it was."""
    with pytest.raises(SettingsError, match=says):
        devices.add(camera)
    assert [known.camera_id for known in devices.all()] == ["cam-a", "cam-b"]


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"[]",
        b'{"cameras": [{}]}',
        b'{"cameras": 3}',
        b'{"cameras": [{"camera_id": "c", "terminal_id": "t-1"}]}',
        b'{"cameras": [{"camera_id": "c", "terminal_id": "t-1", "registration": "x"}]}',
        b'{"cameras": [{"camera_id": "c", "terminal_id": "t-1", "zone": [[0, 0], [1, 1]], "registration": "%s"}]}'
        % (b"a" * 32),
    ],
)
def test_a_damaged_registry_is_an_error(devices: DeviceRegistry, keyring: Keyring, content: bytes) -> None:
    """A file that cannot be read, or holds a zone or a registration that is none, is an error and never an empty
    registry: neither a look nor a change goes on from it."""
    (keyring.folder / "cameras.json").write_bytes(content)
    for act in (lambda: devices.get("cam-a"), lambda: devices.remove("cam-a")):
        with pytest.raises(SettingsError, match=r"the camera registry .* is damaged"):
            act()
    assert (keyring.folder / "cameras.json").read_bytes() == content


def _add(folder: str, first: int) -> None:
    for i in range(first, first + 5):
        DeviceRegistry(Path(folder)).add(Camera(f"cam-{i}", "t-1"))


def test_cameras_added_at_once_are_all_kept(keyring: Keyring, registry: TerminalRegistry) -> None:
    """Three processes that add five cameras each leave fifteen."""
    assert registry.get("t-1")
    context = multiprocessing.get_context("spawn")
    adders = [context.Process(target=_add, args=(str(keyring.folder), 100 * i)) for i in range(3)]
    for adder in adders:
        adder.start()
    for adder in adders:
        adder.join(60)
    assert len(DeviceRegistry(keyring.folder).all()) == 15
