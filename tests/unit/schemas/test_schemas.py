"""The schemas: examples, generated documents, the codec's laws, and the topics' declarations."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jsonschema
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import asyncapi
from pipeline.errors import DecodeError
from pipeline.topics import lane_topics, topics
from schemas import codec, json_schema
from schemas.events import EVENTS
from schemas.ids import derived_id

EXAMPLES = sorted((Path(json_schema.__file__).parent / "examples").glob("*.json"))


def example(name: str) -> dict[str, Any]:
    """One kept example as parsed JSON."""
    found: dict[str, Any] = orjson.loads((EXAMPLES[0].parent / f"{name}.json").read_bytes())
    return found


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_each_kept_example_decodes_and_encodes_to_the_same_object(path: Path) -> None:
    """An example that stops decoding is a compatibility break: so would old records on the topics."""
    raw = orjson.loads(path.read_bytes())
    event = codec.decode(path.read_bytes(), *EVENTS)
    assert raw["type"] == path.stem.split(".")[0]
    assert orjson.loads(codec.encode(event)) == raw
    jsonschema.validate(raw, json_schema.json_schema(type(event)))


def test_no_event_lacks_an_example_and_no_example_is_an_orphan() -> None:
    """Examples and events name each other completely."""
    assert {path.stem.split(".")[0] for path in EXAMPLES} == set(codec.TYPES)


def test_generated_json_schemas_are_current() -> None:
    """The committed files equal what the dataclasses say: run `python -m schemas.json_schema`."""
    kept = {path.name: path.read_bytes() for path in json_schema.FOLDER.glob("*.json")}
    assert kept == json_schema.documents()


def test_the_asyncapi_document_is_current() -> None:
    """The committed document equals what the topic files say: run `python -m pipeline.asyncapi`."""
    assert asyncapi.DOCUMENT.read_bytes() == asyncapi.render()


def test_every_reference_of_the_asyncapi_document_leads_somewhere() -> None:
    """No dangling reference."""
    document = asyncapi.document()

    def references(node: object) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if "$ref" in node else []
            return own + [r for value in node.values() for r in references(value)]
        if isinstance(node, list):
            return [r for value in node for r in references(value)]
        return []

    found = references(document)
    assert found
    for reference in found:
        target: Any = document
        for part in reference.removeprefix("#/").split("/"):
            target = target[part]


def test_every_event_travels_on_exactly_one_topic() -> None:
    """An event without a topic would be dead code, one with two would have no order."""
    carried = [value for topic in topics().values() for value in topic.values]
    assert sorted(carried) == sorted(codec.TYPES)


def test_lane_topics_are_keyed_by_terminal_and_co_partitioned() -> None:
    """A lane is one partition number in each of these topics."""
    lanes = lane_topics()
    assert {t.name for t in lanes} == {"commands", "frames", "hints", "verdicts", "settlements"}
    assert {t.key for t in lanes} == {"terminal_id"}
    assert len({t.partitions for t in lanes}) == 1


RECOGNISED: str = example("recognition")["payer_id"]
BAD_RECORDS: list[tuple[str, bytes | None, str]] = [
    ("no value", None, "empty"),
    ("not JSON", b"\xff\x00", "not_json"),
    ("JSON but no object", b"[1]", "wrong_type"),
    ("no type", b"{}", "wrong_event"),
    ("an event of another topic", orjson.dumps(example("cancel")), "wrong_event"),
    ("a field of a wrong type", orjson.dumps(example("recognition") | {"frames_used": "2"}), "invalid_field"),
    ("a boolean for a number", orjson.dumps(example("recognition") | {"frames_used": True}), "invalid_field"),
    ("out of range", orjson.dumps(example("recognition") | {"similarity": 1.5}), "invalid_field"),
    ("an id that is none", orjson.dumps(example("recognition") | {"payer_id": "x"}), "invalid_field"),
    (
        "an id with a trailing newline",
        orjson.dumps(example("recognition") | {"payer_id": RECOGNISED + "\n"}),
        "invalid_field",
    ),
    (
        "a name with a trailing newline",
        orjson.dumps(example("recognition") | {"terminal_id": "lane\n"}),
        "invalid_field",
    ),
    ("too large", b"[" + b" " * codec.MAX_EVENT_BYTES + b"]", "too_large"),
]


@pytest.mark.parametrize(("what", "data", "reason"), BAD_RECORDS, ids=[row[0] for row in BAD_RECORDS])
def test_a_bad_record_is_refused_with_its_reason(what: str, data: bytes | None, reason: str) -> None:
    """Each kind of bad record has a stable reason for the dead letter."""
    with pytest.raises(DecodeError) as caught:
        codec.decode(data, codec.TYPES["recognition"])
    assert caught.value.reason == reason, what


@pytest.mark.parametrize("name", [f.name for f in dataclasses.fields(codec.TYPES["verdict"]) if f.name != "type"])
def test_each_missing_field_is_named(name: str) -> None:
    """A missing required field is refused and the detail names it."""
    raw = example("verdict.approve")
    del raw[name]
    with pytest.raises(DecodeError, match=name):
        codec.decode(orjson.dumps(raw), codec.TYPES["verdict"])


def test_unknown_fields_are_ignored() -> None:
    """A newer producer may add fields."""
    raw = example("hint.come_closer")
    assert codec.decode(orjson.dumps(raw | {"added_later": 1}), *EVENTS) == codec.decode(orjson.dumps(raw), *EVENTS)


def test_a_refusal_never_repeats_the_value() -> None:
    """Error texts travel to logs and the dead letter in clear."""
    raw = example("verdict.approve") | {"payer_id": "4111111111111111"}
    with pytest.raises(DecodeError) as caught:
        codec.decode(orjson.dumps(raw), *EVENTS)
    assert "4111111111111111" not in str(caught.value)
    assert "$.payer_id" in caught.value.detail


@given(st.binary(max_size=200))
def test_random_bytes_are_refused_with_a_reason(data: bytes) -> None:
    """No input crashes the decoder."""
    with pytest.raises(DecodeError) as caught:
        codec.decode(data, *EVENTS)
    assert caught.value.reason in {"not_json", "wrong_type", "wrong_event", "invalid_field"}


@given(st.lists(st.text(max_size=5).filter(lambda s: "\x1f" not in s), min_size=1, max_size=3), st.data())
def test_derived_ids_are_stable_and_keep_parts_apart(parts: list[str], data: st.DataObject) -> None:
    """The same parts give the same id, other parts another."""
    other = data.draw(st.lists(st.text(max_size=5).filter(lambda s: "\x1f" not in s), min_size=1, max_size=3))
    assert (derived_id(*parts) == derived_id(*other)) == (parts == other)


def test_a_part_with_the_separator_is_refused() -> None:
    """Otherwise two different derivations could collide."""
    with pytest.raises(ValueError, match="separator"):
        derived_id("a\x1fb")
