"""Settings to wired, running processes: the only place that wires.

Every process is made here from the same pieces: logs, health, the keyring, then what the agent needs and the loop that
brings it to Kafka. Nothing else constructs a part of another package for production use. What only one process needs is
imported by its own function: an agent that is started again is back sooner, and needs no library of another.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from pipeline.keys.derivation import derive
from pipeline.keys.devices import DeviceRegistry
from pipeline.keys.keyring import Keyring
from pipeline.keys.seals import AesGcmSeal
from pipeline.keys.terminals import TerminalRegistry
from pipeline.runtime import logs
from pipeline.runtime.deadletters import DeadLetters
from pipeline.runtime.health import Health, HealthServer
from pipeline.settings import Settings
from pipeline.topics import FRAMES, topics

if TYPE_CHECKING:
    from pipeline.gallery.claims import ClaimedPayers
    from pipeline.ports import PayerSearch
    from pipeline.vision.engine import Engine, OnnxEngine

log = structlog.get_logger(__name__)

DAY_MS = 86_400_000
MAX_FACES = 8
"""Faces of one picture that are embedded, the largest first: a crowd behind the payer must not stall a lane."""


def now_us() -> int:
    """This host's clock, microseconds UTC."""
    return time.time_ns() // 1_000


def open_engine(settings: Settings, *, models: Path | None = None) -> OnnxEngine:
    """The vision engine; raises `ModelError`. Says which device each model really got."""
    from pipeline.vision.engine import OnnxEngine
    from pipeline.vision.sessions import Execution

    vision = settings.vision
    execution = Execution(
        gpu=vision.gpu,
        threads=vision.threads,
        max_batch=vision.max_batch,
        precision=vision.precision,
        batch=vision.batch or "measured",
    )
    engine = OnnxEngine.open(
        models or vision.models,
        execution,
        pad=vision.pad,
        max_faces=MAX_FACES,
        drawn=vision.drawn_models == "allowed",
    )
    for name, providers in engine.providers.items():
        log.info("model_loaded", model=name, providers=list(providers), gpu=vision.gpu, batch=engine.batches[name])
    return engine


def dead_letters(keyring: Keyring, agent: str) -> DeadLetters:
    """The agent's dead letters, sealed under the keyring's key for them."""
    return DeadLetters(AesGcmSeal(derive(keyring.secret("deadletter"), "facepay.deadletter.v1")), agent)


@contextmanager
def open_gallery(
    settings: Settings, keyring: Keyring, engine: Engine, health: Health
) -> Iterator[tuple[PayerSearch, ClaimedPayers]]:
    """The gallery that an embedding agent searches, being read, and who claims may mean; `health` awaits its end.

    The reader feeds the exact index, then the directory of claims and the hot tier. It stops before what it feeds, and
    the store of data keys, which it asks, last.
    """
    from pipeline.gallery.claims import ClaimDirectory, ClaimedPayers
    from pipeline.gallery.hot import HotTier
    from pipeline.gallery.index import ExactIndex
    from pipeline.gallery.mirrors import mirror_name
    from pipeline.gallery.protect.data_keys import open_data_keys
    from pipeline.gallery.reader import GalleryReader
    from pipeline.gallery.search import TieredSearch
    from pipeline.gallery.snapshot import Snapshots
    from pipeline.vision.thresholds import thresholds

    index, directory = ExactIndex(engine.dimension, kernel=settings.gallery.kernel), ClaimDirectory()
    data_keys = open_data_keys(keyring, settings.gallery.data_keys_url)
    hot = None
    if settings.hot.mode == "on":
        hot = HotTier.open(
            settings.redis,
            settings.hot,
            keyring,
            index,
            model_sha256=engine.embedder_sha256,
            version=keyring.gallery_version,
            required_margin=max(thresholds(settings.vision, engine.thresholds).margin, settings.risk.thin_margin),
            ready=lambda: reader.ready,
        )
    name = mirror_name(settings.agent.instance)
    reader = GalleryReader(
        settings.kafka,
        keyring,
        index,
        engine.embedder_sha256,
        data_keys,
        listeners=(directory,) if hot is None else (directory, hot),
        snapshots=Snapshots.of(settings.gallery, name, data_keys, now_us),
        snapshot_interval_s=settings.gallery.snapshot_interval_s,
        report_as=name,
        health=health,
        clock=now_us,
    )
    reader.start()
    if hot is not None:
        hot.start()
    try:
        search = TieredSearch(index, reader.space, hot, ready=lambda: reader.ready)
        yield search, ClaimedPayers(keyring, directory)
    finally:
        reader.stop()
        if hot is not None:
            hot.stop()
        data_keys.close()


def run_embedding(settings: Settings, health: Health) -> int:
    """Frames in, recognitions and hints out; raises `ModelError`, `SettingsError`, `KafkaUnavailable`."""
    from agents.embedding import EmbeddingHandler
    from pipeline.keys.frames import KeyringFrameOpener
    from pipeline.runtime.batch_loop import BatchLoop

    keyring = Keyring.open(settings.keys.directory)
    vision = settings.vision
    engine = open_engine(settings)
    devices = DeviceRegistry(settings.keys.directory)
    opener = KeyringFrameOpener(
        keyring,
        TerminalRegistry(settings.keys.directory),
        cameras=devices.get,
        max_age_ms=vision.max_frame_age_ms,
        max_skew_ms=vision.max_clock_skew_ms,
        lanes=topics()[FRAMES].partitions,
    )
    with open_gallery(settings, keyring, engine, health) as (gallery, claims):
        loop = BatchLoop(
            EmbeddingHandler(opener, engine, gallery, vision, now_us, cameras=devices.get, claims=claims),
            kafka=settings.kafka,
            agent=settings.agent,
            dead=dead_letters(keyring, "embedding"),
            health=health,
            clock=now_us,
            max_batch=vision.max_batch,
            restore=True,
            ready=lambda: gallery.ready,
        )
        return loop.run()


def run_fraud(settings: Settings, health: Health) -> int:
    """Recognitions in, verdicts out; Redis that is down at the start is no reason not to start."""
    from agents.fraud import FraudHandler
    from agents.fraud_outcomes import OutcomeHistory, settlements_reader
    from agents.risk_state import RiskState
    from pipeline.runtime.faust_worker import FaustWorker

    keyring = Keyring.open(settings.keys.directory)
    state = RiskState(
        settings.redis.url,
        timeout_ms=settings.redis.timeout_ms,
        history_ttl_ms=settings.risk.history_days * DAY_MS,
    )
    outcomes = OutcomeHistory(state, settings.risk, now_us, settlements_reader(settings.kafka))
    worker = FaustWorker(
        FraudHandler(state, settings.risk, now_us, on_cold=outcomes.refill),
        kafka=settings.kafka,
        agent=settings.agent,
        dead=dead_letters(keyring, "fraud"),
        health=health,
        clock=now_us,
    )
    outcomes.start()
    try:
        return worker.run()
    finally:
        outcomes.stop()


def run_settlement(settings: Settings, health: Health) -> int:
    """Commands and verdicts in, settlements out exactly once; raises `LedgerError`, `KafkaUnavailable`."""
    from agents.settlement import settlement_store
    from pipeline.runtime.transactional_loop import TransactionalLoop

    keyring = Keyring.open(settings.keys.directory)
    store = settlement_store(settings.ledger, keyring, dead_letters(keyring, "settlement"))
    try:
        return TransactionalLoop(store, kafka=settings.kafka, agent=settings.agent, health=health, clock=now_us).run()
    finally:
        store.close()


RUN: Mapping[str, Callable[[Settings, Health], int]] = {
    "embedding": run_embedding,
    "fraud": run_fraud,
    "settlement": run_settlement,
}


def run_agent(name: str, settings: Settings) -> int:
    """Runs one agent of `agents.AGENTS` in the foreground until it is told to end; returns the exit code."""
    logs.configure(settings.log, name)
    # Served before anything else is there: without this the first seconds would look ready.
    health = Health(name, awaits=("assignment",))
    server = HealthServer(health, settings.metrics.host, settings.metrics.port)
    port = server.start()
    log.info("started", metrics=f"http://{settings.metrics.host}:{port}/metrics")
    try:
        return RUN[name](settings, health)
    finally:
        server.stop()


def run_gateway(settings: Settings) -> int:
    """Serves the HTTP API until it is told to end; returns the exit code."""
    from pipeline.gateway.app import run as serve_gateway
    from pipeline.gateway.service import GatewayDeps

    logs.configure(settings.log, "gateway")
    return serve_gateway(
        GatewayDeps(
            settings=settings,
            keyring=Keyring.open(settings.keys.directory),
            registry=TerminalRegistry(settings.keys.directory),
            devices=DeviceRegistry(settings.keys.directory),
            clock=now_us,
        )
    )
