"""The ledger's tables, with the promises that the database itself keeps.

Kept by constraints, whatever the code does:

* one transfer per (intent, purpose): a settlement or a refund cannot be posted twice;
* each transfer has exactly one debit and one credit entry of its own amount (deferred foreign keys both ways);
* an account's entries are numbered from 1 without gaps, and each starts from the balance the one before left
  (a foreign key from each entry to its predecessor's number and balance);
* no debit takes an account below its floor; no amount is zero or negative; refunded never exceeds settled;
* one order of a merchant has at most one intent that is in flight or settled (a partial unique index);
* outbox rows and consumed positions have one row per number.

Portable to PostgreSQL: no row ids, no upserts, times and money as 64-bit integers, text ids.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

SCHEMA_VERSION = "1"

metadata = MetaData()

# Name and value: ledger_id, incarnation, schema_version, cluster_id, topic_id:<topic>.
meta = Table(
    "meta",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

# One row per lane: its lock, its owner, the number of its last outbox row, and how many intents it opened and ended.
lanes = Table(
    "lanes",
    metadata,
    Column("lane", Integer, primary_key=True, autoincrement=False),
    Column("owner", Text, nullable=False),
    Column("owner_epoch", BigInteger, nullable=False),
    Column("outbox_seq", BigInteger, nullable=False),
    Column("opened", BigInteger, nullable=False),
    Column("ended", BigInteger, nullable=False),
    CheckConstraint("outbox_seq >= 0 AND owner_epoch >= 1 AND opened >= ended", name="lane_counts"),
)

# The next offset to apply, by lane and topic: the authority over what was consumed.
offsets = Table(
    "offsets",
    metadata,
    Column("lane", Integer, primary_key=True, autoincrement=False),
    Column("topic", Text, primary_key=True),
    Column("next_offset", BigInteger, nullable=False),
)

# What the ledger owes to Kafka, numbered per lane without gaps. Headers: JSON, list of [name, Latin-1 text].
outbox = Table(
    "outbox",
    metadata,
    Column("lane", Integer, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("incarnation", Integer, nullable=False),
    Column("topic", Text, nullable=False),
    Column("key", LargeBinary, nullable=False),
    Column("value", LargeBinary, nullable=False),
    Column("headers", Text, nullable=False),
    Column("owed_since_us", BigInteger, nullable=False),
    CheckConstraint("seq >= 1", name="outbox_from_one"),
)

# Which lane a terminal lives on and the highest lane_seq it has shown.
terminals = Table(
    "terminals",
    metadata,
    Column("terminal_id", Text, primary_key=True),
    Column("lane", Integer, nullable=False),
    Column("lane_seq", BigInteger, nullable=False),
)

LIVE_SQL = "state IN ('open', 'awaiting_confirmation', 'authorising')"
TAKEN_SQL = "state IN ('open', 'awaiting_confirmation', 'authorising', 'settled')"

intents = Table(
    "intents",
    metadata,
    Column("intent_id", Text, primary_key=True),
    Column("lane", Integer, nullable=False),
    Column("lane_seq", BigInteger, nullable=False),
    Column("terminal_id", Text, nullable=False),
    Column("merchant_id", Text, nullable=False),
    Column("payee_id", Text, nullable=False),
    Column("merchant_order_id", Text, nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("opened_at_us", BigInteger, nullable=False),
    Column("expires_at_us", BigInteger, nullable=False),
    Column("key_epoch", Integer, nullable=False),
    Column("trace", Text, nullable=False),
    Column("command_sha256", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("last_hint", Text),
    # The verdict that binds the payer, or that ended the intent.
    Column("verdict_id", Text),
    Column("payer_id", Text),
    Column("decision", Text),
    Column("methods", Text),
    Column("verdict_sha256", Text),
    Column("recognition_sha256", Text),
    Column("captured_at_us", BigInteger),
    # A confirmation that overtook its verdict.
    Column("held_verdict_id", Text),
    Column("held_payer_id", Text),
    Column("held_method", Text),
    Column("held_sha256", Text),
    Column("method", Text),
    Column("confirmation_sha256", Text),
    Column("reasons", Text, nullable=False),
    Column("decided_at_us", BigInteger),
    Column("refunded_minor", BigInteger, nullable=False),
    CheckConstraint("amount_minor > 0", name="intent_amount"),
    CheckConstraint("refunded_minor >= 0 AND refunded_minor <= amount_minor", name="refunded_within_settled"),
    CheckConstraint("refunded_minor = 0 OR state = 'settled'", name="refunded_only_settled"),
    CheckConstraint(f"(decided_at_us IS NULL) = ({LIVE_SQL})", name="decided_when_final"),
    CheckConstraint("state <> 'settled' OR decided_at_us < expires_at_us", name="settled_before_deadline"),
    CheckConstraint(
        "state <> 'settled' OR (payer_id IS NOT NULL AND verdict_sha256 IS NOT NULL AND recognition_sha256 IS NOT NULL"
        " AND method IS NOT NULL AND (method <> 'face_pin' OR confirmation_sha256 IS NOT NULL))",
        name="settled_with_evidence",
    ),
    Index(
        "one_intent_per_order",
        "merchant_id",
        "merchant_order_id",
        unique=True,
        sqlite_where=text(TAKEN_SQL),
        postgresql_where=text(TAKEN_SQL),
    ),
    Index("timers", "lane", "expires_at_us", sqlite_where=text(LIVE_SQL), postgresql_where=text(LIVE_SQL)),
    Index("live_of_terminal", "terminal_id", sqlite_where=text(LIVE_SQL), postgresql_where=text(LIVE_SQL)),
)

# Verdicts that overtook their command, by their own position; `value` is the record as consumed.
parked = Table(
    "parked",
    metadata,
    Column("lane", Integer, primary_key=True, autoincrement=False),
    Column("topic", Text, primary_key=True),
    Column("source_offset", BigInteger, primary_key=True, autoincrement=False),
    Column("intent_id", Text, nullable=False),
    Column("value", LargeBinary, nullable=False),
    Column("expires_at_us", BigInteger, nullable=False),
    Index("parked_of_intent", "intent_id"),
    Index("parked_timers", "lane", "expires_at_us"),
)

# Answers given to refunds, granted or refused: a repeated refund_id gets none.
refunds = Table(
    "refunds",
    metadata,
    Column("refund_id", Text, primary_key=True),
    Column("intent_id", Text, nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("refused", Text),
    Column("command_sha256", Text, nullable=False),
    Column("decided_at_us", BigInteger, nullable=False),
    CheckConstraint("amount_minor > 0", name="refund_amount"),
    Index("refunds_of_intent", "intent_id"),
)

# `purpose` is "settlement" or the refund's id. The two sides are constants for the deferred foreign keys, by which a
# transfer without its two entries cannot be committed.
transfers = Table(
    "transfers",
    metadata,
    Column("transfer_id", Text, primary_key=True),
    Column("intent_id", Text, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("posted_at_us", BigInteger, nullable=False),
    Column("debit_side", Text, nullable=False, server_default="debit"),
    Column("credit_side", Text, nullable=False, server_default="credit"),
    CheckConstraint("amount_minor > 0", name="transfer_amount"),
    CheckConstraint("debit_side = 'debit' AND credit_side = 'credit'", name="transfer_sides"),
    UniqueConstraint("intent_id", "purpose", name="one_transfer_per_purpose"),
    UniqueConstraint("transfer_id", "amount_minor", "currency", name="transfer_as_entries_see_it"),
    ForeignKeyConstraint(
        ["transfer_id", "debit_side"],
        ["entries.transfer_id", "entries.side"],
        name="transfer_has_its_debit",
        deferrable=True,
        initially="DEFERRED",
        use_alter=True,
    ),
    ForeignKeyConstraint(
        ["transfer_id", "credit_side"],
        ["entries.transfer_id", "entries.side"],
        name="transfer_has_its_credit",
        deferrable=True,
        initially="DEFERRED",
        use_alter=True,
    ),
    sqlite_with_rowid=False,
)

entries = Table(
    "entries",
    metadata,
    Column("account", Text, primary_key=True),
    Column("currency", Text, primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("transfer_id", Text, nullable=False),
    Column("side", Text, nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("previous_seq", BigInteger),
    Column("balance_before_minor", BigInteger, nullable=False),
    Column("balance_after_minor", BigInteger, nullable=False),
    Column("floor_minor", BigInteger),
    CheckConstraint(
        "(side = 'debit' AND balance_after_minor = balance_before_minor - amount_minor)"
        " OR (side = 'credit' AND balance_after_minor = balance_before_minor + amount_minor)",
        name="entry_adds_up",
    ),
    CheckConstraint(
        "side = 'credit' OR floor_minor IS NULL OR balance_after_minor >= floor_minor", name="entry_above_floor"
    ),
    CheckConstraint(
        "(seq = 1 AND previous_seq IS NULL AND balance_before_minor = 0)"
        " OR (seq > 1 AND previous_seq IS NOT NULL AND previous_seq = seq - 1)",
        name="entry_gapless",
    ),
    UniqueConstraint("transfer_id", "side", name="one_entry_per_side"),
    UniqueConstraint("account", "currency", "seq", "balance_after_minor", name="entry_as_the_next_sees_it"),
    ForeignKeyConstraint(
        ["transfer_id", "amount_minor", "currency"],
        ["transfers.transfer_id", "transfers.amount_minor", "transfers.currency"],
        name="entry_of_its_transfer",
    ),
    ForeignKeyConstraint(
        ["account", "currency", "previous_seq", "balance_before_minor"],
        ["entries.account", "entries.currency", "entries.seq", "entries.balance_after_minor"],
        name="entry_follows_its_predecessor",
    ),
    sqlite_with_rowid=False,
)

# Where each account stands: always a copy of its last entry.
accounts = Table(
    "accounts",
    metadata,
    Column("account", Text, primary_key=True),
    Column("currency", Text, primary_key=True),
    Column("seq", BigInteger, nullable=False),
    Column("balance_minor", BigInteger, nullable=False),
    ForeignKeyConstraint(
        ["account", "currency", "seq", "balance_minor"],
        ["entries.account", "entries.currency", "entries.seq", "entries.balance_after_minor"],
        name="account_is_its_last_entry",
    ),
    sqlite_with_rowid=False,
)
