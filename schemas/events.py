"""Every event of the payment path, as frozen slotted dataclasses.

Theory of operation: an event is a fact that has happened, or (a command) a wish that the gateway has accepted.
Times are integer microseconds UTC (`*_us`), money is integer minor units plus an ISO 4217 code, first ids are
UUIDv7 and derived ids UUIDv5 of what they derive from, so that a repeated derivation is the same event
(`schemas.ids`). `type` tells the members of a topic's union apart. Constraints are declared in the annotations;
`schemas.codec` enforces them and the JSON Schemas are generated from them.

Evolution: add a field as optional first, never reuse a name; unknown fields are ignored on topics and refused at
the HTTP edge.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

END = r"$(?!\n)"
"""The end of the text: in Python `$` alone would let a trailing newline pass; this form means the same everywhere."""

UUID_PATTERN = r"^[0-9a-f]{8}-[0-9a-f]{4}-[57][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}" + END

Uuid = Annotated[str, Meta(pattern=UUID_PATTERN, description="UUIDv7 (first ids) or UUIDv5 (derived ids), lower case")]
Name = Annotated[
    str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}" + END, description="an identifier given by an operator")
]
Code = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,63}" + END, description="a stable reason or hint code")]
Trace = Annotated[str, Meta(pattern=r"^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}" + END, description="W3C traceparent")]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}" + END, description="SHA-256, lower-case hexadecimal")]
AmountMinor = Annotated[int, Meta(gt=0, le=10**12, description="money in minor units of its currency")]
Currency = Annotated[str, Meta(pattern=r"^[A-Z]{3}" + END, description="ISO 4217 code")]
MicrosUtc = Annotated[int, Meta(ge=0, le=4_102_444_800_000_000, description="microseconds since 1970-01-01T00:00:00Z")]
Ratio = Annotated[float, Meta(ge=0.0, le=1.0)]
Cosine = Annotated[float, Meta(ge=-1.0, le=1.0)]
Base64 = Annotated[str, Meta(pattern=r"^[A-Za-z0-9+/]*={0,2}" + END, description="standard base64")]
Count = Annotated[int, Meta(ge=0)]
SealedClaim = Annotated[
    str, Meta(pattern=r"^[A-Za-z0-9+/]+={0,2}" + END, max_length=256, description="base64 of a sealed claim")
]
ClaimKind = Literal["none", "last_four", "full_number"]
JournalDeed = Literal["consent_given", "enrolled", "template_refreshed", "erased", "consent_withdrawn", "rekeyed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentTerms:
    """What a payer agrees to: sealed into each frame, repeated in each event, compared at each step."""

    intent_id: Uuid
    terminal_id: Name
    merchant_id: Name
    payee_id: Name
    amount_minor: AmountMinor
    currency: Currency
    opened_at_us: MicrosUtc
    expires_at_us: MicrosUtc
    key_epoch: Annotated[int, Meta(ge=1, description="epoch of the frame key root")]


# --- commands: the gateway is the only producer ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenIntent:
    """A terminal asks for one payment; `lane_seq` grows per terminal, and a higher one supersedes an open intent.

    `claim` is who the payer says to be, sealed for the embedding agent (`keys.claims`)."""

    type: Literal["open_intent"] = "open_intent"
    event_id: Uuid
    terminal_id: Name
    intent_id: Uuid
    trace: Trace
    lane_seq: Annotated[int, Meta(ge=1)]
    merchant_order_id: Name
    terms: PaymentTerms
    claim: SealedClaim | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirm:
    """The payer confirmed a step-up; `mac` covers intent, verdict, payer, amount, currency and payee
    (`keys.confirmations`)."""

    type: Literal["confirm"] = "confirm"
    event_id: Uuid
    terminal_id: Name
    intent_id: Uuid
    trace: Trace
    verdict_id: Uuid
    payer_id: Uuid
    method: Literal["pin"]
    mac: Sha256
    confirmed_at_us: MicrosUtc


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """The terminal or its cashier gives up an intent that has no outcome yet."""

    type: Literal["cancel"] = "cancel"
    event_id: Uuid
    terminal_id: Name
    intent_id: Uuid
    trace: Trace
    reason: Code
    cancelled_at_us: MicrosUtc


@dataclass(frozen=True, slots=True, kw_only=True)
class Refund:
    """Money back from payee to payer; keyed by (intent, idempotency key), so a repeat is the same refund."""

    type: Literal["refund"] = "refund"
    event_id: Uuid
    terminal_id: Name
    intent_id: Uuid
    trace: Trace
    refund_id: Uuid
    amount_minor: AmountMinor
    currency: Currency
    requested_at_us: MicrosUtc


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteHint:
    """The gateway tells settlement the newest hint, so that an intent nobody was recognised for expires with it as
    its reason."""

    type: Literal["note_hint"] = "note_hint"
    event_id: Uuid
    terminal_id: Name
    intent_id: Uuid
    trace: Trace
    code: Code


Command = OpenIntent | Confirm | Cancel | Refund | NoteHint

# --- recognition ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Hint:
    """What the payer should do, or why nobody was recognised; `final` means that more frames will not help."""

    type: Literal["hint"] = "hint"
    event_id: Uuid
    terminal_id: Name
    intent_id: Uuid
    trace: Trace
    code: Literal[
        "come_closer", "one_person_please", "look_here", "open_eyes", "better_light", "hold_still", "not_recognised",
        "use_pin", "too_many_attempts", "enter_last_four", "enter_number",
    ]  # fmt: skip
    final: bool
    hinted_at_us: MicrosUtc


@dataclass(frozen=True, slots=True, kw_only=True)
class Recognition:
    """Who stands before the terminal, how sure that is, and why: never a picture, never an embedding.

    `liveness` is what was measured; whether it is a proof says `liveness_proven`, and only True is one. `eyes_open` is
    True when every frame that voted showed open eyes, and None when nothing can tell. `quality` is that of the weakest
    frame that voted. `claim` is what the payer claimed, `candidates` how many payers the claim left to search.
    `lookalike` is True for a payer who has a twin or a lookalike in the gallery: a face alone tells them not apart.
    """

    type: Literal["recognition"] = "recognition"
    event_id: Uuid
    terminal_id: Name
    intent_id: Uuid
    trace: Trace
    terms: PaymentTerms
    payer_id: Uuid
    similarity: Cosine
    margin: Annotated[float, Meta(ge=0.0, le=2.0, description="similarity minus that of the best other payer")]
    threshold: Cosine
    frames_used: Annotated[int, Meta(ge=1)]
    frames_seen: Annotated[int, Meta(ge=1)]
    gallery_size: Count
    model_sha256: Sha256
    liveness: Ratio | None = None
    liveness_proven: bool | None = None
    eyes_open: bool | None = None
    modality: Literal["rgb", "ir", "depth"] | None = None
    quality: Ratio | None = None
    claim: ClaimKind | None = None
    candidates: Count | None = None
    lookalike: bool | None = None
    searched: Literal["hot", "exact"] | None = None
    captured_at_us: MicrosUtc
    recognised_at_us: MicrosUtc


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the fraud agent allows; `recognition_sha256` is the evidence it judged."""

    type: Literal["verdict"] = "verdict"
    event_id: Uuid
    terminal_id: Name
    intent_id: Uuid
    trace: Trace
    terms: PaymentTerms
    payer_id: Uuid
    decision: Literal["approve", "step_up", "decline"]
    methods: tuple[Literal["pin"], ...]
    reasons: tuple[Code, ...]
    score: Ratio
    policy_version: Name
    features_sha256: Sha256
    recognition_sha256: Sha256
    captured_at_us: MicrosUtc
    decided_at_us: MicrosUtc


# --- settlement -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """SHA-256 of the bytes, as consumed, of what an outcome rests on."""

    command_sha256: Sha256 | None = None
    verdict_sha256: Sha256 | None = None
    recognition_sha256: Sha256 | None = None
    confirmation_sha256: Sha256 | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """The final outcome of an intent, or a refund after it; emitted exactly once, the only event goods may be
    handed over on.

    `outcome` `refused` answers a command that changes nothing (a refund above what was settled, a second order with
    the same merchant order id); it is no final outcome of an intent that has another one.
    """

    type: Literal["settlement"] = "settlement"
    event_id: Uuid
    terminal_id: Name
    intent_id: Uuid
    trace: Trace
    outcome: Literal["settled", "declined", "expired", "cancelled", "refunded", "refund_refused"]
    reasons: tuple[Code, ...]
    merchant_id: Name
    payee_id: Name
    merchant_order_id: Name
    amount_minor: AmountMinor
    currency: Currency
    payer_id: Uuid | None = None
    method: Literal["face", "face_pin"] | None = None
    settlement_id: Uuid | None = None
    refund_id: Uuid | None = None
    opened_at_us: MicrosUtc
    expires_at_us: MicrosUtc
    captured_at_us: MicrosUtc | None = None
    decided_at_us: MicrosUtc
    evidence: Evidence
    receipt: str | None = None


# --- gallery, payers, journal, dead letters --------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class GalleryTemplate:
    """One encrypted template; the key of the record is `template_id`, a null value is its tombstone."""

    type: Literal["gallery_template"] = "gallery_template"
    event_id: Uuid
    template_id: Uuid
    payer_id: Uuid
    model_sha256: Sha256
    key_version: Annotated[int, Meta(ge=1)]
    sealed: Base64
    enrolled_at_us: MicrosUtc
    data_key_id: Uuid | None = None
    lookalike: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PayerProfile:
    """What the gateway must know of a payer: a sealed PIN verifier; a null value is the payer's tombstone."""

    type: Literal["payer_profile"] = "payer_profile"
    event_id: Uuid
    payer_id: Uuid
    key_version: Annotated[int, Meta(ge=1)]
    sealed_pin_verifier: Base64
    enrolled_at_us: MicrosUtc


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsentRecord:
    """What a payer agreed to: which text, by its name and, where the text was at hand, its hash; and for what."""

    text_version: Name
    text_sha256: Sha256 | None = None
    purposes: Annotated[tuple[Code, ...], Meta(min_length=1, max_length=16)]


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalEntry:
    """Who did what to the data of one subject (a payer's id, or the name of a thing such as `gallery`), and nothing
    personal beside.

    The entries of a subject are a chain: `sequence` counts them from 1, and `previous_sha256` is the hash of the bytes
    of the one before, None for the first. `templates` counts what was written or removed; `consent` is there when it
    was given.
    """

    type: Literal["journal_entry"] = "journal_entry"
    event_id: Uuid
    subject: Name
    sequence: Annotated[int, Meta(ge=1)]
    previous_sha256: Sha256 | None
    what: JournalDeed
    who: Annotated[Name, Meta(description="the operator, as the installation names people")]
    at_us: MicrosUtc
    templates: Count | None = None
    model_sha256: Sha256 | None = None
    key_version: Annotated[int, Meta(ge=1)] | None = None
    consent: ConsentRecord | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A record that could not be processed: its bytes sealed, where it stood, and why."""

    type: Literal["dead_letter"] = "dead_letter"
    event_id: Uuid
    agent: Name
    topic: Name
    partition: Count
    offset: Count
    reason: Code
    detail: Annotated[str, Meta(max_length=500)]
    sealed_key: Base64
    sealed_value: Base64
    failed_at_us: MicrosUtc


Event = (
    OpenIntent
    | Confirm
    | Cancel
    | Refund
    | NoteHint
    | Hint
    | Recognition
    | Verdict
    | Settlement
    | GalleryTemplate
    | PayerProfile
    | JournalEntry
    | DeadLetter
)

EVENTS: tuple[type[Event], ...] = (
    OpenIntent, Confirm, Cancel, Refund, NoteHint, Hint, Recognition, Verdict, Settlement, GalleryTemplate,
    PayerProfile, JournalEntry, DeadLetter,
)  # fmt: skip
