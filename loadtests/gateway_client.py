"""The gateway's HTTP interface as one terminal uses it, and as one camera does.

A command that opens an intent or asks for a refund carries an idempotency key, so it is repeated, unchanged, for as
long as nobody knows whether it counted: connection errors, 503 and 504. What comes back is JSON with known fields;
anything else is a `GatewayRefusal`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import msgspec

from pipeline.camera.lease import Lease
from pipeline.errors import OutsideError
from pipeline.keys.credentials import CameraCredentials, TerminalCredentials
from schemas.events import PaymentTerms, Settlement

RETRIED = frozenset({502, 503, 504})
_BACKOFF_S = (0.05, 0.1, 0.2, 0.4, 0.8)


class GatewayRefusal(OutsideError):
    """The gateway answered with an error that a repetition would not change; `code` is its stable name."""

    def __init__(self, status: int, code: str, message: str, details: dict[str, Any]) -> None:
        super().__init__(f"asking the gateway: {status} {code}: {message}")
        self.status = status
        self.code = code
        self.details = details


@dataclass(frozen=True, slots=True)
class Opened:
    """The answer to an opened intent."""

    intent_id: str
    state: str
    version: int
    lane_seq: int
    terms: PaymentTerms
    trace: str


@dataclass(frozen=True, slots=True)
class HintView:
    """What the payer should do; `final`: more frames will not help."""

    code: str
    final: bool
    hinted_at_us: int = 0


@dataclass(frozen=True, slots=True)
class VerdictView:
    """What a terminal may know of a verdict."""

    verdict_id: str
    decision: str
    methods: tuple[str, ...]
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class IntentView:
    """An intent as its terminal sees it."""

    intent_id: str
    state: str
    version: int
    hint: HintView | None
    verdict: VerdictView | None
    outcome: Settlement | None
    refunds: tuple[Settlement, ...]

    @property
    def final(self) -> bool:
        """Whether the intent has its outcome."""
        return self.outcome is not None


class GatewayClient:
    """One terminal at one gateway; `http` may be shared by many."""

    def __init__(self, http: httpx.AsyncClient, address: str, credentials: TerminalCredentials) -> None:
        self._http = http
        self._base = f"{address.rstrip('/')}/v1/intents"
        self._headers = {
            "X-Terminal-Id": credentials.terminal_id,
            "Authorization": f"Bearer {credentials.token}",
        }
        self.repeated = 0
        """How often a request had to be repeated."""

    async def open(
        self,
        key: str,
        *,
        order_id: str,
        amount_minor: int,
        currency: str,
        ttl_ms: int,
        patience_s: float,
        claim: Mapping[str, str] | None = None,
    ) -> Opened:
        """Opens an intent, or finds the one that this key has opened; `claim` is `{"phone": ...}` or
        `{"last_four": ...}`. Raises `GatewayRefusal`, or `OutsideError` when nobody answered for `patience_s`."""
        body: dict[str, Any] = {
            "merchant_order_id": order_id,
            "amount_minor": amount_minor,
            "currency": currency,
            "ttl_ms": ttl_ms,
        }
        if claim is not None:
            body["claim"] = dict(claim)
        raw = await self._send("POST", "", patience_s, json=body, key=key)
        return msgspec.convert(raw, Opened)

    async def look(self, intent_id: str, *, wait_ms: int, after_version: int, patience_s: float) -> IntentView:
        """The intent now, or as soon as something has happened after `after_version`, within `wait_ms`."""
        params = {"wait_ms": wait_ms, "after_version": after_version}
        raw = await self._send("GET", f"/{intent_id}", patience_s, params=params)
        return msgspec.convert(raw, IntentView)

    async def confirm(self, intent_id: str, verdict_id: str, pin: str, *, patience_s: float) -> None:
        """The payer's PIN; raises `GatewayRefusal` `wrong_pin`, `locked`, ..."""
        body = {"verdict_id": verdict_id, "pin": pin}
        await self._send("POST", f"/{intent_id}/confirm", patience_s, json=body)

    async def cancel(self, intent_id: str, reason: str, *, patience_s: float) -> None:
        """Gives the intent up."""
        await self._send("POST", f"/{intent_id}/cancel", patience_s, json={"reason": reason})

    async def refund(self, key: str, intent_id: str, amount_minor: int, *, patience_s: float) -> str:
        """Asks for money back; returns the refund's id."""
        raw = await self._send(
            "POST", f"/{intent_id}/refunds", patience_s, json={"amount_minor": amount_minor}, key=key
        )
        return str(raw["refund_id"])

    async def _send(
        self,
        method: str,
        path: str,
        patience_s: float,
        *,
        key: str | None = None,
        json: Mapping[str, Any] | None = None,
        params: Mapping[str, str | int] | None = None,
    ) -> dict[str, Any]:
        headers = self._headers if key is None else {**self._headers, "Idempotency-Key": key}
        deadline = time.monotonic() + patience_s
        attempt = 0
        while True:
            found = ""
            try:
                answer = await self._http.request(method, self._base + path, headers=headers, json=json, params=params)
                if answer.status_code not in RETRIED:
                    return _body(answer)
                found = f"status {answer.status_code}"
            except httpx.TransportError as error:
                found = type(error).__name__
            if time.monotonic() >= deadline:
                raise OutsideError(
                    f"asking the gateway ({method} {path or '/'}) for {patience_s:.0f} s: {found}; see its log"
                )
            self.repeated += 1
            await asyncio.sleep(_BACKOFF_S[min(attempt, len(_BACKOFF_S) - 1)])
            attempt += 1


class LeaseClient:
    """One camera at one gateway: what it may film."""

    def __init__(self, http: httpx.AsyncClient, address: str, credentials: CameraCredentials) -> None:
        self._http = http
        self._url = f"{address.rstrip('/')}/v1/lease"
        self._headers = {
            "X-Camera-Id": credentials.camera_id,
            "X-Terminal-Id": credentials.terminal_id,
            "Authorization": f"Bearer {credentials.token}",
        }

    async def ask(self, wait_ms: int) -> Lease | None:
        """The lease of the lane's open intent, waiting up to `wait_ms` for one. Raises `GatewayRefusal`, or
        `OutsideError` when the gateway does not answer."""
        try:
            answer = await self._http.get(self._url, headers=self._headers, params={"wait_ms": wait_ms})
        except httpx.TransportError as error:
            raise OutsideError(f"asking the gateway for a lease: {type(error).__name__}; see its log") from None
        if answer.status_code == httpx.codes.NO_CONTENT:
            return None
        return msgspec.convert(_body(answer), Lease)


def _body(answer: httpx.Response) -> dict[str, Any]:
    try:
        body = answer.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise GatewayRefusal(answer.status_code, "no_json", "the answer is no JSON object", {})
    if answer.is_success:
        return body
    error = body.get("error")
    fields = error if isinstance(error, dict) else {}
    known = {"code", "message"}
    details = {name: value for name, value in fields.items() if name not in known}
    raise GatewayRefusal(
        answer.status_code, str(fields.get("code", "unknown")), str(fields.get("message", "no message")), details
    )
