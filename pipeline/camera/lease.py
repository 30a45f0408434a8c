"""Whether the gateway wants pictures: the lease of a lane's open intent to the cameras registered for it.

`GatewayLease` asks once, `LeaseWatch` keeps asking in a thread. A lease ends at its own time, whatever happens to the
gateway: a camera that has lost the gateway stops filming when what it was granted runs out, and one whose intent was
cancelled or settled stops at the next question, a quarter of a second later at most.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Protocol

import httpx
import msgspec
import orjson
import structlog

from pipeline.errors import OutsideError, UsageError
from pipeline.keys.credentials import CameraCredentials
from pipeline.ports import Clock
from schemas.events import MicrosUtc, PaymentTerms, SealedClaim, Trace

_log = structlog.get_logger("camera")
_ANSWER_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """An open intent and how long its pictures are wanted; `claim` is who the payer says to be, sealed."""

    terms: PaymentTerms
    trace: Trace
    camera_until_us: MicrosUtc
    claim: SealedClaim | None = None

    def holds(self, at_us: int) -> bool:
        """Whether a picture taken at that time may be published."""
        return self.terms.opened_at_us <= at_us <= min(self.camera_until_us, self.terms.expires_at_us)


class LeaseSource(Protocol):
    """Who grants leases."""

    def poll(self, wait_ms: int) -> Lease | None:
        """The lease in force, waiting up to `wait_ms` for one. Raises `UsageError`, `OutsideError`."""
        ...


class GatewayLease:
    """`GET /v1/lease` of the gateway, as the camera of `credentials`."""

    def __init__(self, gateway_url: str, credentials: CameraCredentials) -> None:
        self._url = gateway_url.rstrip("/")
        self._camera_id = credentials.camera_id
        try:
            self._client = httpx.Client(
                base_url=self._url,
                headers={
                    "X-Camera-Id": credentials.camera_id,
                    "X-Terminal-Id": credentials.terminal_id,
                    "Authorization": f"Bearer {credentials.token}",
                },
            )
        except httpx.InvalidURL as error:
            raise UsageError(f"opening the gateway {gateway_url}: {error}") from None

    def close(self) -> None:
        """Gives back the connection."""
        self._client.close()

    def poll(self, wait_ms: int) -> Lease | None:
        """See `LeaseSource`. `UsageError`: the gateway does not know the camera or its token, or knows it for another
        lane; `OutsideError`: it cannot be reached or answers something else."""
        try:
            answer = self._client.get("/v1/lease", params={"wait_ms": wait_ms}, timeout=_ANSWER_S + wait_ms / 1000)
        except httpx.UnsupportedProtocol:
            raise UsageError(f"opening the gateway {self._url}: pass an address that begins with http://") from None
        except httpx.HTTPError as error:
            raise OutsideError(
                f"asking the gateway {self._url} for a lease: {str(error) or type(error).__name__}; start it with "
                "`facepay gateway`, or pass its address to --gateway"
            ) from None
        if answer.status_code == httpx.codes.NO_CONTENT:
            return None
        if answer.status_code in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
            raise UsageError(
                f"asking the gateway {self._url} for a lease: it refuses the camera {self._camera_id}, its token or "
                "its lane; look at `facepay cameras list` and provision the camera again"
            )
        if answer.status_code != httpx.codes.OK:
            raise OutsideError(f"asking the gateway {self._url} for a lease: it answered {answer.status_code}")
        try:
            return msgspec.convert(orjson.loads(answer.content), Lease, strict=True)
        except (orjson.JSONDecodeError, msgspec.ValidationError):
            raise OutsideError(f"asking the gateway {self._url} for a lease: its answer is no lease") from None


class LeaseWatch:
    """Keeps the newest lease; start it as a context."""

    _WAIT_MS = 2_000
    _AGAIN_S = 0.25
    _RETRY_S = 1.0

    def __init__(self, source: LeaseSource, clock: Clock, stop: threading.Event) -> None:
        self._source = source
        self._clock = clock
        self._stop = stop
        self._news = threading.Condition()
        self._lease: Lease | None = None
        self._failure: UsageError | None = None
        self._thread = threading.Thread(target=self._follow, name="lease", daemon=True)

    def __enter__(self) -> LeaseWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(_ANSWER_S + self._WAIT_MS / 1000)

    def at(self, at_us: int) -> Lease | None:
        """The lease that a picture taken at that time may be published under. `UsageError`: the gateway refuses the
        camera."""
        with self._news:
            if self._failure is not None:
                raise self._failure
            return self._lease if self._lease is not None and self._lease.holds(at_us) else None

    def wait_held(self, timeout_s: float) -> bool:
        """Waits until a lease holds; False after `timeout_s`. `UsageError`: the gateway refuses the camera."""
        with self._news:
            held = self._news.wait_for(lambda: self._failure is not None or self._holds_now(), timeout_s)
            if self._failure is not None:
                raise self._failure
            return held

    def _holds_now(self) -> bool:
        return self._lease is not None and self._lease.holds(self._clock())

    def _follow(self) -> None:
        while not self._stop.is_set():
            try:
                lease = self._source.poll(0 if self._lease is not None else self._WAIT_MS)
            except UsageError as error:
                self._note(None, error)
                return
            except OutsideError as error:
                # What was granted stands until its own end; nothing new is assumed.
                _log.warning("lease_unknown", why=str(error))
                self._stop.wait(self._RETRY_S)
                continue
            self._note(lease)
            if lease is not None:
                self._stop.wait(self._AGAIN_S)

    def _note(self, lease: Lease | None, failure: UsageError | None = None) -> None:
        with self._news:
            self._lease, self._failure = lease, failure
            self._news.notify_all()
