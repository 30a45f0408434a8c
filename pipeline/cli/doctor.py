"""`facepay doctor`: pre-flight checks, each with what was found and what to do about it.

Every check is a function from the settings to a `Check`; whatever it raises is a check that failed, never a crash
of the doctor.
"""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

from pipeline.cli import console
from pipeline.cli.console import JsonFlag
from pipeline.errors import FacepayError
from pipeline.settings import Settings


@dataclass(frozen=True, slots=True)
class Check:
    """One answer of the doctor; `hint` is empty when there is nothing to do."""

    name: str
    ok: bool
    found: str
    hint: str = ""


def python_version(_: Settings) -> Check:
    """The interpreter is one that the project supports."""
    ok = sys.version_info >= (3, 11)
    return Check("python", ok, platform.python_version(), "" if ok else "install Python 3.11 or newer")


def models(settings: Settings) -> Check:
    """The models of the engine load, keep their contracts, and run on the device and in the precision asked for.

    The providers are those that each session really got: what ONNX Runtime calls available proves nothing. Models for
    drawn people are named first and aloud: with them every other answer is about people who do not exist.
    """
    from pipeline.vision.engine import OnnxEngine
    from pipeline.vision.sessions import Execution

    vision = settings.vision
    execution = Execution(gpu=vision.gpu, threads=vision.threads, precision=vision.precision)
    drawn_allowed = vision.drawn_models == "allowed"
    engine = OnnxEngine.open(vision.models, execution, pad=vision.pad, drawn=drawn_allowed)
    found = "; ".join(
        f"{name} on {', '.join(got)} in {engine.precisions[name]}" for name, got in engine.providers.items()
    )
    return Check(
        "models",
        True,
        f"MODELS FOR DRAWN PEOPLE ONLY, no real face may be judged by them: {found}" if engine.drawn else found,
    )


def kafka(settings: Settings) -> Check:
    """Kafka answers and its topics are as declared."""
    from pipeline.runtime import admin

    changes = admin.plan(settings.kafka)
    if not changes:
        return Check("kafka", True, f"{settings.kafka.bootstrap}, topics as declared")
    found = "; ".join(f"{c.kind} {c.topic}" for c in changes)
    return Check("kafka", False, f"{settings.kafka.bootstrap}: {found}", "run `facepay topics apply`")


def redis(settings: Settings) -> Check:
    """Redis answers, and how fast."""
    from redis import Redis, RedisError

    client = Redis.from_url(settings.redis.url, socket_timeout=1, socket_connect_timeout=1)
    try:
        client.ping()
        start = time.perf_counter()
        client.ping()
        took_us = (time.perf_counter() - start) * 1e6
        version = client.info("server")["redis_version"]
    except RedisError as error:
        return Check("redis", False, type(error).__name__, "start Redis or set FACEPAY_REDIS__URL")
    finally:
        client.close()
    return Check("redis", True, f"version {version}, round trip {took_us:.0f} us")


def ledger(settings: Settings) -> Check:
    """The ledger's database opens, and belongs to this Kafka when it is bound."""
    from pipeline.ledger.reading import LedgerReader

    identity = LedgerReader(settings.ledger.url).identity()
    return Check("ledger", True, f"ledger {identity.ledger_id}, incarnation {identity.incarnation}")


def keys(settings: Settings) -> Check:
    """The keyring is complete and readable by its owner only."""
    from pipeline.keys.keyring import Keyring

    keyring = Keyring.open(settings.keys.directory)
    keyring.frame_root(settings.keys.frame_epoch)
    return Check("keys", True, f"{settings.keys.directory}, frame epoch {settings.keys.frame_epoch}")


def clock(_: Settings) -> Check:
    """The clock is plausible and the monotonic clock moves with it: payments have deadlines."""
    wall, steady = time.time(), time.monotonic()
    while time.monotonic() - steady < 0.05:
        pass
    drift_ms = abs((time.time() - wall) - (time.monotonic() - steady)) * 1e3
    ok = drift_ms < 20 and time.gmtime().tm_year >= 2025
    hint = "" if ok else "synchronise the clock with NTP; payment deadlines depend on it"
    return Check("clock", ok, f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(wall))}, jump {drift_ms:.1f} ms", hint)


CHECKS: tuple[tuple[str, str, Callable[[Settings], Check]], ...] = (
    ("python", "", python_version),
    ("models", "set FACEPAY_VISION__MODELS to a folder with the models that `facepay models list` names", models),
    ("kafka", "start Kafka or set FACEPAY_KAFKA__BOOTSTRAP", kafka),
    ("redis", "start Redis or set FACEPAY_REDIS__URL", redis),
    ("ledger", "start the settlement agent once, or set FACEPAY_LEDGER__URL", ledger),
    ("keys", "set FACEPAY_KEYS__DIRECTORY to a keyring", keys),
    ("clock", "", clock),
)


def examine(settings: Settings) -> list[Check]:
    """All checks, in order; a failure of one does not keep the others from running."""
    results = []
    for name, hint, check in CHECKS:
        try:
            results.append(check(settings))
        except FacepayError as error:
            # An error is one sentence: what was tried and found; what to do.
            found, _, advice = str(error).rpartition("; ")
            results.append(Check(name, False, found, advice) if found else Check(name, False, advice, hint))
        except Exception as error:  # noqa: BLE001 - whatever breaks in a check is the finding
            results.append(Check(name, False, f"{type(error).__name__}: {error}", hint))
    return results


def doctor(json: JsonFlag = False) -> None:
    """Check Python, providers, models, Kafka and topics, Redis, ledger, keys and clock."""
    results = examine(console.settings())
    ok = all(check.ok for check in results)

    def show() -> None:
        for check in results:
            mark = "[green]ok  [/green]" if check.ok else "[red]FAIL[/red]"
            console.out.print(f"{mark} {check.name:<12} ", end="")
            console.out.print(check.found, highlight=False, markup=False, soft_wrap=True)
            if check.hint and not check.ok:
                console.out.print(
                    f"     {'':<12} {check.hint}", style="yellow", highlight=False, markup=False, soft_wrap=True
                )

    console.finish({"ok": ok, "checks": [asdict(check) for check in results]}, as_json=json, show=show, ok=ok)
