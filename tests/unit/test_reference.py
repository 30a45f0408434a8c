"""The reference pages say what the code says, and the metrics keep their naming law."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

UNITS = (
    "seconds|bytes|ratio|bool|info"
    "|alerts|checks|claims|errors|frames|intents|leases|outcomes|payers|reasons|records|rejects|reloads|searches"
    "|templates|transactions|verdicts|writes"
)
PERSONAL = re.compile(r"payer|face|terminal|person|intent|template|account")


@pytest.fixture(scope="module")
def reference(root: Path) -> ModuleType:
    """.ci/reference.py as a module: it is a script, and no package."""
    spec = importlib.util.spec_from_file_location("facepay_reference", root / ".ci" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_pages_are_current(reference: ModuleType) -> None:
    """A changed default, topic or metric is seen in the documentation too: run `make docs`."""
    assert reference.stale() == []


def test_a_stale_page_is_found(reference: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Pages that are absent or differ are named; written ones are not."""
    (tmp_path / "docs").mkdir()
    monkeypatch.setattr(reference, "ROOT", tmp_path)
    monkeypatch.setattr(reference.sys, "argv", ["reference.py"])
    assert len(reference.stale()) == 3
    assert reference.main() == 0
    assert reference.stale() == []
    page = tmp_path / "docs" / "reference" / "topics.md"
    page.write_text(page.read_text().replace("| 8 |", "| 9 |", 1))
    assert reference.stale() == ["docs/reference/topics.md"]
    monkeypatch.setattr(reference.sys, "argv", ["reference.py", "--check"])
    assert reference.main() == 1


def test_metrics_have_units_and_name_nobody(reference: ModuleType) -> None:
    """`facepay_<what>_<unit>[_total]`, explained, and no label that could hold a person, a face or a terminal."""
    metrics = reference.declared_metrics()
    assert metrics
    for metric in metrics:
        name = reference.exposed_name(metric)
        assert re.fullmatch(rf"facepay_([a-z]+_)*({UNITS})(_total)?", name), name
        assert (metric._type == "counter") == name.endswith("_total"), name
        assert metric._documentation, name
        assert not [label for label in metric._labelnames if PERSONAL.search(label)], name


@pytest.mark.parametrize(
    ("config", "kept"),
    [
        ({"cleanup.policy": "compact"}, "newest of each key"),
        ({"retention.ms": "2592000000"}, "30 d"),
        ({"retention.ms": "300000"}, "5 min"),
        ({"retention.ms": "1500"}, "1500 ms"),
        ({"retention.ms": "-1"}, "for ever"),
        ({}, "for ever"),
    ],
)
def test_spans_read_as_a_person_would_say_them(reference: ModuleType, config: dict[str, str], kept: str) -> None:
    """Kafka's milliseconds, in the largest unit that is whole."""
    assert reference.span(config) == kept
