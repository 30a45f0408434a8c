"""Every metric, listed once with a comment. Base units; no payer, face or terminal id in a label.

One process, one registry (`prometheus_client`'s default); `pipeline.runtime.health` serves it at `/metrics`.
"""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

SECONDS = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.02,
    0.035,
    0.05,
    0.075,
    0.1,
    0.15,
    0.25,
    0.35,
    0.5,
    0.75,
    1.0,
    1.5,
    2.5,
    5.0,
    10.0,
)

# How long each stage takes; stage is one of: unseal, decode, fingerprint, detect, align, embed, liveness, eyes, search,
# vote, features, verdict, apply, emit, ...
STAGE = Histogram("facepay_stage_seconds", "Compute time of one stage for one batch", ["stage"], buckets=SECONDS)
# How long a record waited between Kafka's timestamp and the start of its processing: queueing, apart from compute.
QUEUE_WAIT = Histogram(
    "facepay_queue_wait_seconds", "From the record's timestamp to its processing", ["agent"], buckets=SECONDS
)
# From the camera's capture time to the event named by `event` (recognition, verdict, settlement).
SINCE_CAPTURE = Histogram("facepay_since_capture_seconds", "From capture to an event", ["event"], buckets=SECONDS)
# Records taken from a topic.
CONSUMED = Counter("facepay_consumed_records_total", "Records consumed", ["agent", "topic"])
# Records whose delivery was confirmed.
EMITTED = Counter("facepay_emitted_records_total", "Records sent and confirmed", ["agent", "topic"])
# Records that went to the dead letter, by reason.
DEAD = Counter("facepay_dead_records_total", "Records sent to the dead letter", ["agent", "reason"])
# Inputs refused or dropped without being wrong: expired frames, abstentions by reason.
REJECTS = Counter("facepay_rejects_total", "Inputs dropped or answered with an abstention", ["agent", "reason"])
# Records in one batch.
BATCH = Histogram(
    "facepay_batch_records", "Records per batch", ["agent"], buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 500)
)
# Age of the oldest record not yet processed, and how many are waiting.
LAG_SECONDS = Gauge("facepay_lag_seconds", "Age of the oldest unprocessed record", ["agent"])
LAG_RECORDS = Gauge("facepay_lag_records", "Records not yet processed", ["agent"])
# 1 when the process can do its work, as /readyz says.
READY = Gauge("facepay_ready_bool", "1 when ready", ["agent"])
# Share of the time that the engine computes.
ENGINE_BUSY = Counter("facepay_engine_busy_seconds_total", "Time the vision engine computed")
# 1 for each model, with the device's provider that its session really got.
ENGINE_PROVIDER = Gauge("facepay_engine_provider_info", "Where each model runs", ["model", "provider"])
# Templates in the gallery that this process searches.
GALLERY = Gauge("facepay_gallery_templates", "Templates searched")
# Share of the gallery's topic that was read since the start: below 1 the process does not search yet.
GALLERY_READ = Gauge("facepay_gallery_read_ratio", "Share of the gallery read since the start")
# Snapshots of the gallery by what became of them: written, failed, or why one was refused at the start.
SNAPSHOTS = Counter("facepay_gallery_snapshot_outcomes_total", "Snapshots of the gallery", ["outcome"])
# How like the enrolled pictures recognised payers look: it falls over months when faces age (drift).
TO_ENROLLED = Histogram(
    "facepay_to_enrolled_ratio",
    "Cosine of a recognised face to the nearest template",
    buckets=(0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0),
)
# What became of settled payments as refreshes of a template: refreshed, or why not.
REFRESHES = Counter("facepay_template_refresh_outcomes_total", "Refreshes of templates", ["outcome"])
# Thresholds in force, by name (match, margin, ...).
THRESHOLD = Gauge("facepay_threshold_ratio", "Thresholds in force", ["name"])
# Among how many templates a face may be searched for: in a larger gallery payers are asked for a claim. Absent where
# nobody calibrated the embedder.
SUPPORTED_TEMPLATES = Gauge("facepay_supported_templates", "Templates that a face alone may be compared with")
# 1 where a guard at the face (liveness, eyes, repeated_frames) decides, 0 where it only reports or is off.
FACE_GUARD = Gauge("facepay_face_guard_bool", "1 when a guard at the face decides", ["guard"])
# Verdicts by decision, and the reasons behind them.
VERDICTS = Counter("facepay_verdicts_total", "Verdicts", ["decision"])
VERDICT_REASONS = Counter("facepay_verdict_reasons_total", "Reason codes of verdicts", ["reason"])
# Final outcomes and refunds.
OUTCOMES = Counter("facepay_outcomes_total", "Outcomes decided", ["outcome"])
# Things a person should look at: two payers for one intent after it was settled, answers that nobody asked for.
ALERTS = Counter("facepay_alerts_total", "Contradictions that need a person", ["agent", "reason"])
# Conservation: intents opened minus final minus open must stay 0.
CONSERVATION = Gauge("facepay_conservation_intents", "Intents opened - final - open")
OPEN_INTENTS = Gauge("facepay_open_intents", "Intents without an outcome")
# Kafka transactions of the settlement loop, by result (committed, aborted).
TRANSACTIONS = Counter("facepay_transactions_total", "Kafka transactions", ["result"])
# HTTP requests of the gateway, by route template and status class.
HTTP = Histogram("facepay_http_seconds", "HTTP requests", ["route", "status"], buckets=SECONDS)
# PIN checks by result: right, wrong, locked, unavailable.
PIN_CHECKS = Counter("facepay_pin_checks_total", "PIN checks", ["result"])
# Calls to Redis that failed or ran past their budget.
REDIS_ERRORS = Counter("facepay_redis_errors_total", "Failed Redis calls", ["agent"])
# Searches of the hot tier by result: hit, or why the exact search had to decide (nobody_hot, thin_margin, not_counted,
# below_least, spent, near_neighbour, not_alive, changed, lookalike, gallery_moves, suspended).
HOT_SEARCHES = Counter("facepay_hot_searches_total", "Searches of the hot tier", ["result"])
# What the answers that stood risked: how many of them may differ from the exact ones, as the rule bounds it.
HOT_RISK = Counter("facepay_hot_risked_searches_total", "Bound on hot answers that differ")
# Hot answers that were also searched exactly: same, or different, which suspends the tier.
HOT_VERIFIED = Counter("facepay_hot_checks_total", "Hot answers verified exactly", ["result"])
# What was written to Redis: put, touched, refused (erased lately), dropped (taken out), failed, full (not even tried).
HOT_WRITES = Counter("facepay_hot_writes_total", "Writes of the hot tier", ["result"])
# Mirrors read anew, by reason: start, server, epoch, gap, trimmed, rolled_back.
HOT_RELOADS = Counter("facepay_hot_reloads_total", "Full reads of the hot tier", ["reason"])
# Entries of Redis that were no entries of ours: seal_broken, entry_malformed, vector_invalid, wrong_type.
HOT_REFUSED = Counter("facepay_hot_rejects_total", "Entries of the hot tier refused", ["reason"])
# Payers in this process's mirror, and how many of their templates have their neighbours counted.
HOT_PAYERS = Gauge("facepay_hot_payers", "Payers mirrored")
HOT_COUNTED = Gauge("facepay_hot_counted_templates", "Mirrored templates whose neighbours are counted")
# 1 for the state of the mirror that holds: cold, following, lost; suspended beside it when an answer was different.
HOT_STATE = Gauge("facepay_hot_state_bool", "State of the hot tier", ["state"])
# When Redis was last heard: time() minus it is the age of the mirror.
HOT_HEARD = Gauge("facepay_hot_heard_timestamp_seconds", "When the mirror last heard from Redis")
# Answers to cameras that asked for a lease: granted, none (nothing is open), or the code of the refusal.
LEASES = Counter("facepay_leases_total", "Leases of open intents asked for by cameras", ["result"])
# Claims of intents that were opened, by kind (last_four, full_number), and those refused as too many.
CLAIMS = Counter("facepay_claims_total", "Claims of who a payer is", ["kind"])
# Frames a camera published, dropped (no lease, too slow) and their bytes.
CAMERA_FRAMES = Counter("facepay_camera_frames_total", "Camera frames", ["result"])
