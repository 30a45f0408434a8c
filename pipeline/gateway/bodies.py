"""What a terminal may send: unknown fields are refused, numbers are numbers, a PIN never shows in a text."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

NAME = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$"
IDEMPOTENCY_KEY = r"^[\x21-\x7e]{1,128}$"


def _is_pin(pin: SecretStr) -> SecretStr:
    """4 to 12 digits."""
    text = pin.get_secret_value()
    if not (4 <= len(text) <= 12 and text.isascii() and text.isdigit()):
        raise ValueError("a PIN has 4 to 12 digits")
    return pin


class Body(BaseModel):
    """A request's JSON object."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


class OpenBody(Body):
    """One payment: amounts in minor units."""

    merchant_order_id: str = Field(pattern=NAME)
    amount_minor: int = Field(gt=0, le=10**12)
    currency: str = Field(pattern=r"^[A-Z]{3}$")
    ttl_ms: int | None = Field(None, ge=1_000, le=120_000)


class ConfirmBody(Body):
    """The PIN for a verdict that asked for it."""

    verdict_id: str = Field(min_length=36, max_length=36)
    pin: Annotated[SecretStr, AfterValidator(_is_pin)]


class CancelBody(Body):
    """Why a terminal gives up: a short code."""

    reason: str = Field("cancelled_at_terminal", pattern=r"^[a-z][a-z0-9_]{0,63}$")


class RefundBody(Body):
    """How much to give back, in minor units of the intent's currency."""

    amount_minor: int = Field(gt=0, le=10**12)
