"""Claims at the gateway: digits in, a sealed claim out, and how often a terminal may try.

What was typed becomes a tag and is sealed for one intent (`keys.claims`) before anything else happens with it; no log,
metric, error or topic has it. A repeat with the same Idempotency-Key is compared by what its seal holds, since the seal
itself is never the same twice.

A terminal learns nothing of a number from a claim: one that nobody has, one of somebody else and none end in the same
hints. But a claim narrows the gallery, so trying claim after claim with one face would search all of it piece by piece,
past what the thresholds are good for. So of the claims of one terminal only so many may stay unproven, that is, without
a verdict, within a window of time; the book counts them, so that every gateway counts alike.
"""

from __future__ import annotations

from pipeline import metrics
from pipeline.errors import SealError
from pipeline.gateway.answers import ApiError
from pipeline.gateway.bodies import ClaimBody
from pipeline.gateway.feed import Feed
from pipeline.keys.claims import Claim, last_four_tag, open_claim, phone_tag, seal_claim
from pipeline.keys.keyring import Keyring
from pipeline.ports import Clock
from schemas.events import OpenIntent


class ClaimDesk:
    """Takes claims; at most `most` of one terminal unproven within `window_s`."""

    def __init__(self, keyring: Keyring, feed: Feed, clock: Clock, *, most: int, window_s: int) -> None:
        self._keyring = keyring
        self._feed = feed
        self._clock = clock
        self._most = most
        self._window_s = window_s

    def sealed(self, body: ClaimBody | None, terminal_id: str, intent_id: str) -> str | None:
        """The claim for the intent's command; None when nothing is claimed. Raises `ApiError` 429."""
        if body is None:
            return None
        since_us = self._clock() - self._window_s * 1_000_000
        if self._feed.look(lambda book: book.unproven_claims(terminal_id, since_us)) >= self._most:
            metrics.CLAIMS.labels("refused").inc()
            raise ApiError(
                429,
                "too_many_claims",
                "too many claims at this terminal were followed by no recognition; use another way to pay",
                retry_after_s=self._window_s,
            )
        claim = self._claim(body)
        metrics.CLAIMS.labels(claim.kind).inc()
        return seal_claim(self._keyring, claim.kind, claim.tag, terminal_id=terminal_id, intent_id=intent_id)

    def is_same(self, opening: OpenIntent, body: ClaimBody | None) -> bool:
        """Whether the intent was opened with that claim."""
        if opening.claim is None or body is None:
            return opening.claim is None and body is None
        try:
            held = open_claim(
                self._keyring, opening.claim, terminal_id=opening.terminal_id, intent_id=opening.intent_id
            )
        except SealError:
            return False  # sealed under a secret that was replaced since: nobody can say that it is the same
        return held == self._claim(body)

    def _claim(self, body: ClaimBody) -> Claim:
        digits = body.digits
        if body.phone is not None:
            return Claim("full_number", phone_tag(self._keyring, digits))
        return Claim("last_four", last_four_tag(self._keyring, digits))
