"""The machine that the demo builds for itself: Kafka, Redis, keys, terminals, cameras, agents and the gateway.

Everything lies in one folder. Settings reach the processes through their environment, as in a deployment.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from loadtests.demo.options import Options
from loadtests.demo.processes import Processes, Watched
from pipeline import settings as tree
from pipeline.keys.credentials import CameraCredentials, TerminalCredentials, provision, provision_camera
from pipeline.keys.devices import Camera, DeviceRegistry
from pipeline.keys.keyring import Keyring
from pipeline.keys.terminals import Terminal, TerminalRegistry
from pipeline.local import Addresses, Supervised
from pipeline.local.loopback import HOST, free_ports
from pipeline.ports import Clock

AGENTS = ("embedding", "fraud", "settlement")
SHOPS = ("noodle-house", "tea-and-bread", "metro-line-2", "night-market")
CURRENCY = "CNY"
COUNTER = ((0.05, 0.1), (0.95, 0.1), (0.95, 1.0), (0.05, 1.0))
"""Where in a camera's picture a payer stands: before the counter, which the cameras look over. Whoever passes at the
picture's sides or far above is no payer. `credentials` and `cameras` of a `World` are by terminal."""


@dataclass(frozen=True, slots=True)
class World:
    """Where everything is. `settings` are those of the processes, as far as the demo needs them itself."""

    folder: Path
    settings: tree.Settings
    gateway: str
    credentials: Mapping[str, TerminalCredentials]
    cameras: Mapping[str, CameraCredentials]
    environment: Mapping[str, str]
    ports: Mapping[str, int]


def build(folder: Path, addresses: Addresses, options: Options) -> World:
    """Makes keys, terminals and their cameras in `folder` and decides on ports. Raises `SettingsError`,
    `OutsideError`."""
    names = (*AGENTS, "gateway-health", "gateway")
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    keyring = Keyring.create(folder / "keys")
    registry, devices = TerminalRegistry(folder / "keys"), DeviceRegistry(folder / "keys")
    credentials, cameras = {}, {}
    for number in range(1, options.terminals + 1):
        shop = SHOPS[(number - 1) % len(SHOPS)]
        terminal = Terminal(f"{shop}.{number:02d}", shop, f"{shop}-main", CURRENCY)
        registry.add(terminal)
        camera = devices.add(Camera(f"{terminal.terminal_id}-camera", terminal.terminal_id, "rgb", COUNTER))
        credentials[terminal.terminal_id] = provision(keyring, terminal.terminal_id)
        cameras[terminal.terminal_id] = provision_camera(keyring, camera, keyring.frame_epochs())
    settings = tree.Settings(
        kafka=tree.Kafka(bootstrap=addresses.kafka),
        redis=tree.Redis(url=addresses.redis),
        keys=tree.Keys(directory=folder / "keys", frame_epoch=keyring.frame_epochs()[-1]),
        ledger=tree.Ledger(url=f"sqlite:///{folder / 'ledger.db'}"),
        vision=_vision(options),
        risk=tree.Risk(
            # Flat portraits are no proof of a living face, and no eye model has judged photographs set in motion.
            unproven_liveness="step_up" if options.drawn else "accept",
            unknown_eyes="step_up" if options.drawn else "accept",
            velocity_count=VELOCITY_COUNT,
            velocity_decline_count=40,
        ),
        # Everything shares a few cores here: an answer may take longer than a lease of the default's length lasts.
        gateway=tree.Gateway(host=HOST, port=ports["gateway"], lease_ms=LEASE_MS),
        log=tree.Log(style="json"),
    )
    return World(
        folder=folder,
        settings=settings,
        gateway=f"http://{HOST}:{ports['gateway']}",
        credentials=credentials,
        cameras=cameras,
        environment={**_clean_environment(), **environment(settings)},
        ports=ports,
    )


def _vision(options: Options) -> tree.Vision:
    """Drawn people come with models that are proven for them; flat portraits can prove nothing about liveness."""
    vision = tree.Vision(models=options.models.absolute(), pad="report_only")
    if options.drawn:
        # Cameras of the demo are slow: closed eyes are given up on after as many seconds as at a real counter.
        drawn: dict[str, object] = {"drawn_models": "allowed", "pad": "required", "refusal_patience": 10}
        vision = vision.model_copy(update=drawn)
    return vision if options.max_fpir is None else vision.model_copy(update={"max_fpir": options.max_fpir})


LEASE_MS = 3_000
VELOCITY_COUNT = 10
"""Payments of one person in a minute before a PIN is asked for: the demo's few people pay far oftener than in life."""


def environment(settings: tree.Settings) -> dict[str, str]:
    """The settings that differ from the defaults as `FACEPAY_*` variables."""
    found = {}
    for section, branch in settings:
        for name in branch.model_fields_set:
            value = getattr(branch, name)
            found[f"FACEPAY_{section.upper()}__{name.upper()}"] = str(value)
    return found


def _clean_environment() -> dict[str, str]:
    """This process's environment without settings of the person's own installation."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FACEPAY_")}
    # The agents' logs are files: no colours, whatever this terminal can show.
    return {**kept, "ORT_DISABLE_TELEMETRY": "1", "NO_COLOR": "1", "PYTHONUNBUFFERED": "1"}


def processes(world: World, clock: Clock, on_event: Callable[[str], None]) -> Processes:
    """The agents and the gateway, not yet started."""
    logs = world.folder / "logs"
    logs.mkdir(exist_ok=True)
    watched = []
    for name in AGENTS:
        env = {**world.environment, "FACEPAY_METRICS__PORT": str(world.ports[name]), "FACEPAY_METRICS__HOST": HOST}
        argv = [sys.executable, "-m", "pipeline.cli", "agent", name]
        process = Supervised(name, argv, env, logs / f"{name}.log")
        watched.append(Watched(process, f"http://{HOST}:{world.ports[name]}/readyz"))
    env = {**world.environment, "FACEPAY_METRICS__PORT": str(world.ports["gateway-health"])}
    process = Supervised("gateway", [sys.executable, "-m", "pipeline.cli", "gateway"], env, logs / "gateway.log")
    watched.append(Watched(process, f"{world.gateway}/readyz"))
    return Processes(watched, clock, on_event=on_event)
