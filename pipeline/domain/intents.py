"""What settlement knows of one payment intent, what can happen to it, and what follows: the values of the lifecycle.

`pipeline.domain.lifecycle` decides over these. All are frozen; times are microseconds UTC, money is minor units.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from schemas.events import PaymentTerms


class State(StrEnum):
    """Where an intent stands. Exactly one of the final ones is reached, exactly once."""

    OPEN = "open"
    AWAITING_CONFIRMATION = "awaiting_confirmation"
    AUTHORISING = "authorising"
    """The ledger (or an acquirer) has been asked: only its answer or the deadline ends it."""
    SETTLED = "settled"
    DECLINED = "declined"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


FINAL = frozenset({State.SETTLED, State.DECLINED, State.EXPIRED, State.CANCELLED})
LIVE = frozenset(State) - FINAL

Method = Literal["face", "face_pin"]


# --- inputs -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Opening:
    """The command that asks for a payment, with two facts of its lane and merchant at that moment."""

    terms: PaymentTerms
    lane_seq: int
    merchant_order_id: str
    trace: str
    command_sha256: str
    newest_lane_seq: int
    """The highest `lane_seq` seen of this terminal so far, 0 if none."""
    order_taken: bool
    """Another intent of the merchant with this order id is in flight or settled."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict as consumed; kept on the intent it binds."""

    verdict_id: str
    payer_id: str
    decision: Literal["approve", "step_up", "decline"]
    methods: tuple[str, ...]
    reasons: tuple[str, ...]
    terms: PaymentTerms
    verdict_sha256: str
    recognition_sha256: str
    captured_at_us: int


@dataclass(frozen=True, slots=True)
class Confirmation:
    """A confirmation as consumed; `mac_ok` says whether its MAC holds for the terms of the intent's own command."""

    verdict_id: str
    payer_id: str
    method: str
    confirmation_sha256: str
    mac_ok: bool = True


@dataclass(frozen=True, slots=True)
class Cancellation:
    """The terminal gives up."""

    reason: str


@dataclass(frozen=True, slots=True)
class Superseded:
    """The terminal opened a newer intent (higher `lane_seq`)."""


@dataclass(frozen=True, slots=True)
class HintNoted:
    """The newest hint: the reason of an expiry, should nobody be recognised."""

    code: str


@dataclass(frozen=True, slots=True)
class Answered:
    """What the ledger said to the posting it was asked for: None is yes, else the reason of its no."""

    refusal: str | None


@dataclass(frozen=True, slots=True)
class RefundAsked:
    """Money back, in part or whole; `refund_id` is its idempotency key."""

    refund_id: str
    amount_minor: int
    currency: str


@dataclass(frozen=True, slots=True)
class Tick:
    """Nothing but time has passed."""


Input = (
    Opening | Judgement | Confirmation | Cancellation | Superseded | HintNoted | Answered | RefundAsked | Tick
)  # fmt: skip


# --- state and decisions ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """One intent. `bound` is the first verdict for a payer: no other payer can pay it. `held` is a confirmation that
    overtook its verdict."""

    terms: PaymentTerms
    lane_seq: int
    merchant_order_id: str
    trace: str
    command_sha256: str
    state: State
    last_hint: str | None = None
    bound: Judgement | None = None
    held: Confirmation | None = None
    method: Method | None = None
    confirmation_sha256: str | None = None
    reasons: tuple[str, ...] = ()
    decided_at_us: int | None = None
    refunded_minor: int = 0

    @property
    def live(self) -> bool:
        """Whether it has no outcome yet."""
        return self.state in LIVE


@dataclass(frozen=True, slots=True)
class RefundDecision:
    """The answer to a refund: `refused` is None or the reason."""

    refund_id: str
    amount_minor: int
    refused: str | None


class Effect(StrEnum):
    """What the caller must do besides keeping the new state."""

    PARK = "park"
    """Keep the verdict until its command comes or its own terms expire."""
    POST = "post"
    """Ask the ledger to move the money, then feed `Answered` back."""
    VOID = "void"
    """Take back what was asked: the intent ended while authorising."""
    ANNOUNCE = "announce"
    """Emit the final outcome: returned exactly once in the life of an intent."""
    ALERT = "alert"
    """Something that a person should look at: `note` names it."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What follows from one input. `note` is why an input changed nothing, or what an alert is about."""

    intent: Intent | None
    effects: tuple[Effect, ...] = ()
    note: str | None = None
    refund: RefundDecision | None = None
