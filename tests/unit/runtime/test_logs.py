"""One JSON line each, whoever logs; secrets redacted; a client that repeats itself cut short."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from pipeline.runtime.logs import RateLimit, redact

ROOT = Path(__file__).resolve().parents[3]

SPEAKERS = """
import logging, structlog
from pipeline.runtime import logs
from pipeline.settings import Log
logs.configure(Log(style={style!r}), "fraud")
structlog.get_logger().info("judged", trace="00-aa", pin="1234", card_token="t")
logging.getLogger("uvicorn.error").warning("a standard %s", "line")
for n in range(40):
    logging.getLogger("aiokafka.consumer.group_coordinator").error("broker is down %d", n)
    logging.getLogger("librdkafka").error("FAIL %d", n)

def look(embedding):
    raise ValueError("with a traceback")

try:
    # Not in this line itself, which a traceback may show.
    look(bytes.fromhex("66616365"))
except ValueError:
    structlog.get_logger().exception("failed")
"""


def spoken(style: str) -> list[str]:
    """What a process with these speakers writes to standard error."""
    call = [sys.executable, "-W", "error", "-c", SPEAKERS.format(style=style)]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == ""
    return done.stderr.splitlines()


def test_production_is_one_json_object_a_line() -> None:
    """structlog, the standard library, tracebacks: each line parses, names the agent, and tells no secret."""
    lines = [orjson.loads(line) for line in spoken("json")]
    assert all(line["agent"] == "fraud" and line["level"] and line["timestamp"] for line in lines)
    by_event = {line["event"]: line for line in lines}
    assert by_event["judged"]["trace"] == "00-aa"
    assert by_event["judged"]["pin"] == by_event["judged"]["card_token"] == "***"
    assert "a standard line" in by_event
    assert "with a traceback" in by_event["failed"]["exception"]
    assert sum("broker is down" in event for event in by_event) <= 5
    assert sum("FAIL" in event for event in by_event) <= 5


def test_a_person_reads_lines_too() -> None:
    """On a terminal: no JSON, the same facts."""
    text = "\n".join(spoken("console"))
    assert "judged" in text
    assert "1234" not in text
    assert "{" not in text.split("Traceback")[0]
    # A local variable is no part of a traceback: it may be a picture or an embedding.
    assert "Traceback" in text
    assert "b'face'" not in text


@pytest.mark.parametrize("name", ["pin", "secret", "embedding", "jpeg", "frame_key", "api_token", "PIN", "mac"])
def test_a_field_that_could_hold_a_secret_is_redacted(name: str) -> None:
    """By its name, whatever the caller thought."""
    assert redact(None, "info", {"event": "pin", name: "x"}) == {"event": "pin", name: "***"}


def test_what_only_sounds_like_a_secret_stays() -> None:
    """Whole words count: a machine is no mac, a pinned hash no pin."""
    event = {"event": "e", "machine": "a", "pinned": "b", "templates_read": 3}
    assert redact(None, "info", dict(event)) == event


def test_the_rate_limit_tells_what_it_kept_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A burst passes, the rest is counted, and the next line after the interval says how many."""
    now_s = [0.0]
    monkeypatch.setattr("pipeline.runtime.logs.time.monotonic", lambda: now_s[0])
    limit = RateLimit(burst=3, interval_s=10)

    def passes(text: str) -> str | None:
        record = logging.LogRecord("aiokafka", logging.ERROR, "", 0, text, (), None)
        return record.getMessage() if limit.filter(record) else None

    assert [passes(f"line {n}") for n in range(5)] == ["line 0", "line 1", "line 2", None, None]
    now_s[0] = 11.0
    assert passes("later") == "later (and 2 more lines of this logger)"
    assert passes("again") == "again"
