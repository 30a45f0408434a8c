"""Which cameras there are: whose lane each films, where in its picture the payer stands, and what it sees with.

The registry is `cameras.json` in the keyring's folder, beside that of the terminals. The gateway leases an open intent
to the cameras registered for its lane, the frame opener refuses frames of any other, and the decision at the face takes
the payer's zone and the modality from here.

A camera has one lane; a lane may have several cameras. `add` draws a `registration`, from which the camera's token is
derived: a camera that is removed and added again is given a new one, so that the old token stays worthless. A camera
that moves to another lane keeps its token, and needs that lane's frame keys: provision it again.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from pipeline.domain.zones import Zone, zone_fault
from pipeline.errors import SettingsError
from pipeline.keys.derivation import derive
from pipeline.keys.keyring import Keyring
from pipeline.keys.registry_file import RegistryFile
from pipeline.keys.terminals import TerminalRegistry
from schemas.events import END, Name

Modality = Literal["rgb", "ir", "depth"]
Registration = Annotated[str, Meta(pattern=r"^[0-9a-f]{32}" + END)]


@dataclass(frozen=True, slots=True)
class Camera:
    """One camera of one terminal's lane. `zone`: the payer's polygon in shares of the picture (`domain.zones`), empty
    for the whole picture. `registration` is drawn by the registry and no secret; cameras compare equal without it."""

    camera_id: Name
    terminal_id: Name
    modality: Modality = "rgb"
    zone: Zone = ()
    registration: Registration = field(default="", compare=False, repr=False)


class DeviceRegistry:
    """The cameras of an installation; `folder` is the keyring's. Each look sees what is in the file now."""

    def __init__(self, folder: Path) -> None:
        self._terminals = TerminalRegistry(folder)
        self._file = RegistryFile(
            folder / "cameras.json",
            what="the camera registry",
            listed_as="cameras",
            kind=Camera,
            name_of=lambda camera: camera.camera_id,
            fault=_fault,
        )

    def add(self, camera: Camera, *, renew: bool = False) -> Camera:
        """Adds a camera or changes what is known of it, and returns it as registered. One that is there keeps its
        registration, unless it is to `renew`: then tokens provisioned before are worth nothing.

        Raises `SettingsError`: a malformed name, modality or zone, or a terminal that is not registered."""
        doing = f"adding a camera to {self._file.path}"
        if self._terminals.get(camera.terminal_id) is None:
            raise SettingsError(
                f"{doing}: the terminal {camera.terminal_id} is not registered; run `facepay terminals add` first"
            )
        with self._file.changing() as cameras:
            known = cameras.get(camera.camera_id)
            kept = known.registration if known is not None and not renew else secrets.token_hex(16)
            added = cameras[camera.camera_id] = replace(camera, registration=kept)
        return added

    def remove(self, camera_id: str) -> bool:
        """Removes a camera: from now on it gets no lease and its frames do not open. False if there was none."""
        with self._file.changing() as cameras:
            return cameras.pop(camera_id, None) is not None

    def get(self, camera_id: str) -> Camera | None:
        """The camera of that name, as of now. Raises `SettingsError` if the registry is damaged."""
        return self._file.current().get(camera_id)

    def of_terminal(self, terminal_id: str) -> tuple[Camera, ...]:
        """The cameras that see that terminal's lane, by name."""
        return tuple(camera for camera in self.all() if camera.terminal_id == terminal_id)

    def all(self) -> tuple[Camera, ...]:
        """Every camera, by name."""
        return tuple(self._file.current().values())


def camera_token(keyring: Keyring, camera: Camera) -> str:
    """The bearer token by which the gateway knows a camera as it is registered: 64 hexadecimal digits. It is no
    terminal's, whatever their names are."""
    return derive(keyring.secret("terminals"), "camera token", camera.camera_id, camera.registration).hex()


def is_camera_token(keyring: Keyring, camera: Camera, token: str) -> bool:
    """Whether `token` is the camera's, in a time that does not depend on how much of it is right; never for a camera
    that did not come from the registry."""
    right = hmac.compare_digest(camera_token(keyring, camera).encode(), token.encode())
    return right and bool(camera.registration)


def _fault(camera: Camera) -> str | None:
    if not camera.registration:
        return "it has no registration"
    wrong = zone_fault(camera.zone)
    return None if wrong is None else f"its zone {wrong}"
