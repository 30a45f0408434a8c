"""A gateway served over HTTP from real Kafka and Redis, and the other agents' words put onto the topics by hand."""

from __future__ import annotations

import asyncio
import base64
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import httpx
import orjson
import pytest
import uvicorn
from confluent_kafka import Producer
from fastapi import FastAPI

from pipeline.gateway.app import create_app
from pipeline.gateway.service import GatewayDeps
from pipeline.keys.credentials import provision_camera
from pipeline.keys.devices import Camera, DeviceRegistry
from pipeline.keys.keyring import Keyring
from pipeline.keys.pins import make_verifier, pin_pepper, seal_verifier
from pipeline.keys.terminals import Terminal, TerminalRegistry, terminal_token
from pipeline.runtime.admin import apply
from pipeline.runtime.producer import make_producer
from pipeline.runtime.reader import read_topic
from pipeline.settings import Gateway as Limits
from pipeline.settings import Kafka, Keys, Redis, Settings
from schemas.codec import decode, encode
from schemas.events import (
    Cancel,
    Command,
    Confirm,
    Event,
    Evidence,
    Hint,
    NoteHint,
    OpenIntent,
    PayerProfile,
    PaymentTerms,
    Refund,
    Settlement,
    Verdict,
)
from schemas.ids import derived_id
from tests.stack import unique, wait_until

PIN = "73914682"
COMMANDS: tuple[type[Command], ...] = (OpenIntent, Confirm, Cancel, Refund, NoteHint)


def now_us() -> int:
    """The machine's time: readers begin at Kafka's timestamps."""
    return time.time_ns() // 1_000


@dataclass
class Till:
    """A terminal as an HTTP client."""

    http: httpx.Client
    terminal_id: str
    camera: Mapping[str, str]
    """The headers by which its camera is known."""

    def lease(self, **query: int) -> httpx.Response:
        """What its camera is lent."""
        return self.http.get("/v1/lease", params=query, headers=self.camera)

    def open(self, key: str = "key-1", **changes: Any) -> httpx.Response:
        """Asks for a payment."""
        body = {"merchant_order_id": "order-1", "amount_minor": 2_350, "currency": "CNY", **changes}
        return self.http.post("/v1/intents", headers={"Idempotency-Key": key}, json=body)

    def opened(self, key: str = "key-1", **changes: Any) -> PaymentTerms:
        """The terms of a payment that was opened."""
        answer = self.open(key, **changes)
        assert answer.status_code == 201, answer.text
        return PaymentTerms(**answer.json()["terms"])

    def look(self, intent_id: str, **query: int) -> dict[str, Any]:
        """The intent now, or after a wait."""
        answer = self.http.get(f"/v1/intents/{intent_id}", params=query)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def until(self, intent_id: str, state: str) -> dict[str, Any]:
        """The intent once it is in that state, by long polls."""
        deadline = time.monotonic() + 30
        view = self.look(intent_id)
        while view["state"] != state:
            assert time.monotonic() < deadline, f"waited in vain for {state}, it is {view['state']}"
            view = self.look(intent_id, wait_ms=1_000, after_version=view["version"])
        return view

    def confirm(self, intent_id: str, verdict_id: str, pin: str = PIN) -> httpx.Response:
        """Sends a PIN."""
        return self.http.post(f"/v1/intents/{intent_id}/confirm", json={"verdict_id": verdict_id, "pin": pin})


class Addressed(Protocol):
    """A gateway, wherever it runs."""

    url: str


@dataclass
class World:
    """Kafka, Redis and a keyring; gateways come and go."""

    kafka: Kafka
    redis_url: str
    keyring: Keyring
    registry: TerminalRegistry
    limits: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._producer: Producer | None = None

    @property
    def settings(self) -> Settings:
        """A gateway's settings: any port, and those of `limits`."""
        limits = {"port": 0, "history_s": 600, "rate_per_s": 1_000, **self.limits}
        return Settings(
            kafka=self.kafka,
            redis=Redis(url=self.redis_url),
            keys=Keys(directory=self.keyring.folder),
            gateway=Limits(**limits),
        )

    @contextmanager
    def gateway(self, *, ready: bool = True) -> Iterator[Served]:
        """A gateway in service; with `ready` its book is caught up."""
        served = Served(create_app(GatewayDeps(self.settings, self.keyring, self.registry, self.devices, now_us)))
        served.start()
        try:
            if ready:
                wait_until(lambda: httpx.get(f"{served.url}/readyz").status_code == 200, 60, "the gateway is ready")
            yield served
        finally:
            served.stop()

    @property
    def devices(self) -> DeviceRegistry:
        """The cameras."""
        return DeviceRegistry(self.keyring.folder)

    def terminal(self) -> str:
        """A new terminal's id; it has a camera."""
        terminal_id = unique("till")
        self.registry.add(Terminal(terminal_id, "noodle-house", "noodle-house-main", "CNY"))
        self.camera(f"{terminal_id}-camera", terminal_id)
        return terminal_id

    def camera(self, camera_id: str, terminal_id: str) -> dict[str, str]:
        """Registers a camera for that terminal, and what it says of itself."""
        held = provision_camera(self.keyring, self.devices.add(Camera(camera_id, terminal_id)), [1])
        return {
            "X-Camera-Id": camera_id,
            "X-Terminal-Id": terminal_id,
            "Authorization": f"Bearer {held.token}",
        }

    @contextmanager
    def till(self, served: Addressed, terminal_id: str) -> Iterator[Till]:
        """That terminal as a client of a gateway."""
        token = terminal_token(self.keyring, terminal_id)
        headers = {"X-Terminal-Id": terminal_id, "Authorization": f"Bearer {token}"}
        with httpx.Client(base_url=served.url, headers=headers, timeout=60) as http:
            yield Till(http, terminal_id, self.camera(f"{terminal_id}-camera", terminal_id))

    def say(self, topic: str, event: Event, key: str) -> None:
        """Puts an event onto a topic, confirmed."""
        self.put(topic, key, encode(event))

    def put(self, topic: str, key: str, value: bytes | None) -> None:
        """Puts bytes onto a topic, confirmed."""
        if self._producer is None:
            self._producer = make_producer(self.kafka)
        self._producer.produce(topic, value, key.encode())
        assert self._producer.flush(30) == 0

    def commands(self, intent_id: str) -> list[Command]:
        """The commands about an intent, in their topic's order."""
        found: list[Command] = []
        for message in read_topic(self.kafka, "commands", read_committed=False):
            command: Command = decode(message.value, *COMMANDS)
            if command.intent_id == intent_id:
                assert message.key == command.terminal_id.encode()
                assert message.header("traceparent") == command.trace.encode()
                found.append(command)
        return found

    def enrol(self, pin: str = PIN) -> str:
        """A new payer with that PIN."""
        payer_id = derived_id("payer", unique("payer"))
        verifier = make_verifier(pin, pin_pepper(self.keyring))
        profile = PayerProfile(
            event_id=derived_id(payer_id, "profile"),
            payer_id=payer_id,
            key_version=1,
            sealed_pin_verifier=base64.b64encode(seal_verifier(self.keyring, payer_id, verifier)).decode(),
            enrolled_at_us=now_us(),
        )
        self.say("payers", profile, payer_id)
        return payer_id

    def judge(self, terms: PaymentTerms, decision: str = "approve", payer_id: str | None = None) -> Verdict:
        """The fraud agent's verdict."""
        verdict = Verdict(
            event_id=derived_id(terms.intent_id, "verdict"),
            terminal_id=terms.terminal_id,
            intent_id=terms.intent_id,
            trace=f"00-{'1' * 32}-{'2' * 16}-01",
            terms=terms,
            payer_id=payer_id or derived_id("payer"),
            decision=decision,  # type: ignore[arg-type]  # one of the three
            methods=("pin",) if decision == "step_up" else (),
            reasons=("thin_margin",) if decision == "step_up" else (),
            score=0.5,
            policy_version="rules-1.test",
            features_sha256="ab" * 32,
            recognition_sha256="cd" * 32,
            captured_at_us=now_us(),
            decided_at_us=now_us(),
        )
        self.say("verdicts", verdict, terms.terminal_id)
        return verdict

    def hint(self, terms: PaymentTerms, code: str, *, final: bool = False) -> None:
        """The embedding agent's hint."""
        hint = Hint(
            event_id=derived_id(terms.intent_id, "hint", unique(code)),
            terminal_id=terms.terminal_id,
            intent_id=terms.intent_id,
            trace=f"00-{'1' * 32}-{'2' * 16}-01",
            code=code,  # type: ignore[arg-type]  # a code of the list
            final=final,
            hinted_at_us=now_us(),
        )
        self.say("hints", hint, terms.terminal_id)

    def settle(self, terms: PaymentTerms, outcome: str = "settled", name: str = "outcome") -> Settlement:
        """Settlement's word."""
        settlement = Settlement(
            event_id=derived_id(terms.intent_id, name),
            terminal_id=terms.terminal_id,
            intent_id=terms.intent_id,
            trace=f"00-{'1' * 32}-{'2' * 16}-01",
            outcome=outcome,  # type: ignore[arg-type]  # one of the list
            reasons=(),
            merchant_id=terms.merchant_id,
            payee_id=terms.payee_id,
            merchant_order_id="order-1",
            amount_minor=terms.amount_minor,
            currency=terms.currency,
            opened_at_us=terms.opened_at_us,
            expires_at_us=terms.expires_at_us,
            decided_at_us=now_us(),
            evidence=Evidence(),
        )
        self.say("settlements", settlement, terms.terminal_id)
        return settlement


class Served:
    """An application served on a thread, on a port of its own."""

    def __init__(self, app: FastAPI) -> None:
        self.app = app
        self.url = ""
        config = uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, access_log=False, lifespan="on")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._server.serve()), daemon=True)

    def start(self) -> None:
        """Returns when it listens."""
        self._thread.start()
        wait_until(lambda: self._server.started, 30, "the gateway listens")
        host, port = self._server.servers[0].sockets[0].getsockname()[:2]
        self.url = f"http://{host}:{port}"

    def stop(self) -> None:
        """Ends it."""
        self._server.should_exit = True
        self._thread.join(60)
        assert not self._thread.is_alive()


def make_world(tmp_path: Path, kafka: str, redis_url: str) -> World:
    """A world with the declared topics and a new keyring."""
    settings = Kafka(bootstrap=kafka)
    apply(settings, replication=1)
    keyring = Keyring.create(tmp_path / "keys")
    return World(settings, redis_url, keyring, TerminalRegistry(keyring.folder))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, kafka: str, redis_url: str) -> World:
    """The session's Kafka and Redis with a keyring of this module's."""
    return make_world(tmp_path_factory.mktemp("gateway"), kafka, redis_url)


@pytest.fixture(scope="module")
def served(world: World) -> Iterator[Served]:
    """One ready gateway for the module."""
    with world.gateway() as gateway:
        yield gateway


@pytest.fixture
def till(world: World, served: Served) -> Iterator[Till]:
    """A terminal of this test's own."""
    with world.till(served, world.terminal()) as client:
        yield client


def error_of(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of an error."""
    return answer.status_code, orjson.loads(answer.content)["error"]["code"]
