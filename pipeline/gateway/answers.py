"""What the gateway answers: errors as values with their HTTP status, and the JSON of an intent.

An error's body is `{"error": {"code", "message", ...}}`; `code` is stable, `message` one sentence for a person. No
answer ever repeats a PIN, a token or a body that was sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from starlette.responses import Response

from pipeline.gateway.book import Record
from schemas.events import Hint, OpenIntent, Settlement, Verdict


class ApiError(Exception):
    """A request that is answered with an error."""

    def __init__(
        self, status: int, code: str, message: str, *, retry_after_s: int | None = None, **details: int | str
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.details = details
        self.retry_after_s = retry_after_s

    def response(self) -> Response:
        """The answer."""
        headers = {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        body = {"error": {"code": self.code, "message": self.message, **self.details}}
        return json_response(body, self.status, headers)


def json_response(body: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """JSON that no cache may keep."""
    return Response(
        orjson.dumps(body),
        status_code=status,
        media_type="application/json",
        headers={"Cache-Control": "no-store", **(headers or {})},
    )


def unauthorised() -> ApiError:
    """Who asks is not known: one answer for an unknown terminal, a wrong token and none."""
    return ApiError(401, "unauthorised", "send X-Terminal-Id and Authorization: Bearer with that terminal's token")


def no_camera() -> ApiError:
    """The camera that asks is not known: one answer for one that never was, one that was removed and a wrong token."""
    return ApiError(401, "unauthorised", "send X-Camera-Id and Authorization: Bearer with that camera's token")


def not_a_camera() -> ApiError:
    """A terminal asks for what its cameras are given."""
    return ApiError(
        403,
        "not_a_camera",
        "leases are given to cameras, not to terminals: register one with `facepay cameras add` and use the "
        "credentials that `facepay cameras provision` writes",
    )


def another_lane() -> ApiError:
    """A camera asks for the lease of a lane that it was not registered for, or no longer is."""
    return ApiError(
        403,
        "another_lane",
        "this camera is registered for another terminal than the one it asks for; register it for that terminal, or "
        "give it new credentials with `facepay cameras provision`",
    )


def not_found() -> ApiError:
    """The terminal has no such intent; another terminal's looks the same."""
    return ApiError(404, "no_such_intent", "this terminal has no such intent; check the id")


def not_ready() -> ApiError:
    """The book has not been read up to its end, so an intent that is not in it may exist."""
    return ApiError(503, "not_ready", "the gateway is still reading what happened; try again", retry_after_s=1)


def kafka_unavailable() -> ApiError:
    """Nothing was sent."""
    return ApiError(
        503, "kafka_unavailable", "Kafka cannot be reached, nothing was accepted; try again", retry_after_s=1
    )


def unknown_outcome() -> ApiError:
    """The command may have been accepted."""
    return ApiError(
        504,
        "unknown_outcome",
        "Kafka did not confirm in time, the command may or may not count: repeat the same request with the same "
        "Idempotency-Key until it is answered",
        retry_after_s=1,
    )


def opened(opening: OpenIntent) -> dict[str, Any]:
    """The answer to the request that opened an intent, the same each time: state and version are those at the start."""
    return {
        "intent_id": opening.intent_id,
        "state": "open",
        "version": 1,
        "lane_seq": opening.lane_seq,
        "terms": opening.terms,
        "trace": opening.trace,
    }


def lease(opening: OpenIntent, until_us: int) -> dict[str, Any]:
    """What a camera needs to seal frames of an intent, until when it may film, and the claim, if there is one."""
    told = {"terms": opening.terms, "trace": opening.trace, "camera_until_us": until_us}
    return told if opening.claim is None else {**told, "claim": opening.claim}


def intent_view(intent_id: str, record: Record) -> dict[str, Any]:
    """An intent as its terminal sees it."""
    return {
        "intent_id": intent_id,
        "state": record.state,
        "version": record.version,
        "hint": hint_view(record.hint) if record.hint is not None else None,
        "verdict": verdict_view(record.verdict) if record.verdict is not None else None,
        "outcome": record.outcome,
        "refunds": list(record.answers),
    }


def hint_view(hint: Hint) -> dict[str, Any]:
    """What the payer should do."""
    return {"code": hint.code, "final": hint.final, "hinted_at_us": hint.hinted_at_us}


def verdict_view(verdict: Verdict) -> dict[str, Any]:
    """What a terminal may know of a verdict: not who was recognised."""
    return {
        "verdict_id": verdict.event_id,
        "decision": verdict.decision,
        "methods": verdict.methods,
        "reasons": verdict.reasons,
    }


def stream_event(fact: object) -> tuple[str, Any] | None:
    """A fact as the name and data of a server-sent event; None for what a stream does not tell."""
    match fact:
        case Hint():
            return "hint", hint_view(fact)
        case Verdict():
            return "verdict", verdict_view(fact)
        case Settlement():
            return ("refund" if fact.outcome in {"refunded", "refund_refused"} else "outcome"), fact
        case _:
            return None
