"""Structured logs: one JSON line each in production, readable on a terminal, with trace ids and no personal data.

Standard library loggers (Faust, aiokafka, uvicorn) go through the same renderer. Field names that could hold a face, an
embedding, a PIN or a secret are redacted whatever the caller thought; a logger that repeats itself (aiokafka while a
broker is down) is cut to a few lines per interval and the rest counted.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Mapping, MutableMapping
from typing import Any

import structlog

from pipeline.settings import Log

SECRET_WORDS = ("pin", "secret", "password", "token", "embedding", "vector", "jpeg", "template", "frame_key", "mac")
CHATTY = ("aiokafka", "faust", "librdkafka", "mode")
BURST = 5
INTERVAL_S = 10.0


class RateLimit(logging.Filter):
    """Lets `BURST` records per logger and `INTERVAL_S` through, then one that says how many were kept back."""

    def __init__(self, burst: int = BURST, interval_s: float = INTERVAL_S) -> None:
        super().__init__()
        self._burst = burst
        self._interval_s = interval_s
        self._lock = threading.Lock()
        self._seen: dict[str, tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record may pass; one that ends a silence tells how many did not."""
        now = time.monotonic()
        with self._lock:
            since, count = self._seen.get(record.name, (now, 0))
            if now - since > self._interval_s:
                kept_back = max(0, count - self._burst)
                if kept_back:
                    record.msg = f"{record.getMessage()} (and {kept_back} more lines of this logger)"
                    record.args = ()
                since, count = now, 0
            self._seen[record.name] = (since, count + 1)
            return count < self._burst


def redact(_: object, __: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """Replaces what a secret-sounding field holds."""
    for name in event:
        if name != "event" and any(f"_{word}_" in f"_{name.lower()}_" for word in SECRET_WORDS):
            event[name] = "***"
    return event


def configure(settings: Log, agent: str) -> None:
    """Sets up logging for this process, on standard error; `agent` names the process in each line."""
    as_json = settings.style == "json" or (settings.style == "auto" and not sys.stderr.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        redact,
        structlog.processors.format_exc_info if as_json else _keep,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, settings.level.upper())),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(
            # The other one, with rich installed, prints local variables: pictures and embeddings.
            exception_formatter=structlog.dev.plain_traceback
        )
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer]
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.level.upper())
    limit = RateLimit()
    for name in CHATTY:
        # A filter on a logger does not see its children's records; a handler of its own does.
        chatty = logging.getLogger(name)
        chatty.handlers = [_limited(handler, limit)]
        chatty.propagate = False
        chatty.setLevel(max(logging.WARNING, root.level))
    structlog.contextvars.bind_contextvars(agent=agent)


def _limited(handler: logging.StreamHandler[Any], limit: RateLimit) -> logging.Handler:
    own = logging.StreamHandler(handler.stream)
    own.setFormatter(handler.formatter)
    own.addFilter(limit)
    return own


def _keep(_: object, __: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    return event
