"""What a terminal may send: unknown fields are refused, numbers are numbers, a PIN or a phone number never shows in a
text."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

from pipeline.errors import UsageError
from pipeline.keys.claims import normalised

NAME = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$"
IDEMPOTENCY_KEY = r"^[\x21-\x7e]{1,128}$"


def _is_pin(pin: SecretStr) -> SecretStr:
    """4 to 12 digits."""
    text = pin.get_secret_value()
    if not (4 <= len(text) <= 12 and text.isascii() and text.isdigit()):
        raise ValueError("a PIN has 4 to 12 digits")
    return pin


def _is_phone(phone: SecretStr) -> SecretStr:
    """A number in international form."""
    try:
        normalised(phone.get_secret_value())
    except UsageError:
        raise ValueError("a phone number is + and 8 to 15 digits") from None
    return phone


def _is_last_four(digits: SecretStr) -> SecretStr:
    """Four digits."""
    text = digits.get_secret_value()
    if not (len(text) == 4 and text.isascii() and text.isdigit()):
        raise ValueError("the last four digits are 4 digits")
    return digits


class Body(BaseModel):
    """A request's JSON object."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


class ClaimBody(Body):
    """Who the payer says to be: a phone number in international form, or its last four digits."""

    phone: Annotated[SecretStr, Field(max_length=40), AfterValidator(_is_phone)] | None = None
    last_four: Annotated[SecretStr, AfterValidator(_is_last_four)] | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.phone is None) == (self.last_four is None):
            raise ValueError("a claim is a phone number or four digits")
        return self

    @property
    def digits(self) -> str:
        """What was typed."""
        held = self.phone or self.last_four
        return held.get_secret_value() if held is not None else ""


class OpenBody(Body):
    """One payment: amounts in minor units. `claim` helps where the gallery is too large to tell people apart by face
    alone (hints `enter_last_four` and `enter_number`)."""

    merchant_order_id: str = Field(pattern=NAME)
    amount_minor: int = Field(gt=0, le=10**12)
    currency: str = Field(pattern=r"^[A-Z]{3}$")
    ttl_ms: int | None = Field(None, ge=1_000, le=120_000)
    claim: ClaimBody | None = None


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
