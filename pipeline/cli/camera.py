"""`facepay camera`: publishes a folder, a video or a live camera, sealed, while a payment is open."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli import console
from pipeline.cli.console import JsonFlag
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from pipeline.keys.credentials import CameraCredentials
    from pipeline.settings import Settings


def camera(
    source: Annotated[
        str, typer.Option(help="A folder of images, a video file, a device number or a stream address (RTSP, HTTP).")
    ],
    terminal: Annotated[str, typer.Option(help="The terminal whose payments the camera films.")],
    gateway: Annotated[
        str | None, typer.Option(help="Address of the gateway; default: the settings gateway.host and gateway.port.")
    ] = None,
    credentials: Annotated[
        Path | None, typer.Option(help="The camera's credentials file; default: derived from the keyring here.")
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            help="Which registered camera; default: that of the credentials, or the terminal's and '-camera'."
        ),
    ] = None,
    rate: Annotated[float, typer.Option(min=0.1, max=60, help="Frames a second, at most.")] = 5.0,
    seconds: Annotated[float | None, typer.Option(min=0, help="Stop after so long; default: at the end.")] = None,
    loop: Annotated[bool, typer.Option("--loop", help="Begin a folder or a file again at its end.")] = False,
    json: JsonFlag = False,
) -> None:
    """Film a folder, video or camera; frames are sealed and published only while the gateway leases an open intent."""
    from pipeline.camera.camera import Camera
    from pipeline.camera.lease import GatewayLease
    from pipeline.camera.sources import open_source
    from pipeline.keys.frames import FrameSealer
    from pipeline.runtime.admin import identity
    from pipeline.runtime.health import Health, HealthServer
    from pipeline.runtime.producer import make_producer
    from pipeline.topics import FRAMES

    settings = console.settings()
    held = _credentials(settings, terminal, credentials, name)
    film = open_source(source, loop=loop)
    lease = GatewayLease(gateway or f"http://{settings.gateway.host}:{settings.gateway.port}", held)
    lease.poll(0)  # a wrong address or token is said now, not when the first customer stands there
    identity(settings.kafka, (FRAMES,))
    producer = make_producer(
        settings.kafka,
        linger_ms=0,
        message_max_bytes=2_097_152,  # as the topic's max.message.bytes; librdkafka's own default is half of it
        delivery_timeout_ms=settings.vision.max_frame_age_ms,  # an older frame would be refused as stale
    )
    health = Health("camera")
    server = HealthServer(health, settings.metrics.host, settings.metrics.port)
    port = server.start()
    running = Camera(
        sealer=FrameSealer(held),
        lease=lease,
        producer=producer,
        rate=rate,
        clock=lambda: time.time_ns() // 1000,
        on_turn=health.beat,
    )
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: running.stop())
    metrics_at = f"http://{settings.metrics.host}:{port}"
    console.note(f"filming {source} as {held.camera_id} for {terminal}; metrics on {metrics_at}; Ctrl-C stops")
    try:
        report = running.run(film, seconds=seconds)
    finally:
        lease.close()
        server.stop()
    result = {"frames": report.frames, "dropped": report.dropped, "bytes": report.bytes}

    def show() -> None:
        console.out.print(
            f"{report.frames} frames published ({report.bytes} bytes), {report.dropped} dropped", highlight=False
        )

    console.finish(result, as_json=json, show=show)


def _credentials(settings: Settings, terminal: str, path: Path | None, name: str | None) -> CameraCredentials:
    """The camera's own file, or what the keyring of this machine derives for it as it is registered."""
    from pipeline.keys.credentials import CameraCredentials, provision_camera
    from pipeline.keys.devices import DeviceRegistry
    from pipeline.keys.keyring import Keyring

    if path is None:
        keyring = Keyring.open(settings.keys.directory)
        name = name or f"{terminal}-camera"
        camera = DeviceRegistry(keyring.folder).get(name)
        if camera is None or camera.terminal_id != terminal:
            found = "it is not registered" if camera is None else f"it is registered for {camera.terminal_id}"
            raise UsageError(
                f"filming as {name} for {terminal}: {found}; run `facepay cameras add {name} --terminal {terminal}`"
            )
        return provision_camera(keyring, camera, keyring.frame_epochs())
    held = CameraCredentials.read(path)
    for wanted, got in ((terminal, held.terminal_id), (name or held.camera_id, held.camera_id)):
        if got != wanted:
            raise UsageError(f"opening the credentials {path}: they are those of {got}, not of {wanted}")
    return held
