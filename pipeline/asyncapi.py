"""The AsyncAPI 3.0 document of the topics, generated from the topic files and the event dataclasses.

`python -m pipeline.asyncapi` writes `docs/asyncapi.json`; a test holds that it is current and complete.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from pipeline.topics import Topic, topics
from schemas.codec import TYPES
from schemas.json_schema import json_schema

DOCUMENT = Path(__file__).parent.parent / "docs" / "asyncapi.json"
HEADERS: dict[str, Any] = {
    "type": "object",
    "properties": {"traceparent": {"type": "string", "description": "W3C trace context"}},
}
FRAME_HEADERS: dict[str, Any] = {
    "type": "object",
    "description": "CloudEvents 1.0 binary content mode; all but traceparent are associated data of the seal",
    "properties": {
        "ce_specversion": {"const": "1.0"},
        "ce_type": {"const": "facepay.frame"},
        "ce_source": {"type": "string", "description": "camera id"},
        "ce_id": {"type": "string"},
        "ce_time": {"type": "string", "format": "date-time"},
        "content-type": {"const": "image/jpeg"},
        "facepay-terms": {"type": "string", "description": "JSON of PaymentTerms"},
        "facepay-frame": {"type": "string", "description": "JSON: camera, sequence, captured_at_us"},
        "traceparent": {"type": "string"},
    },
}


def document(version: str = "1") -> dict[str, Any]:
    """The whole document; operations are named `<part>.<sends or receives>.<topic>`."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "facepay topics",
            "version": version,
            "description": "An event-driven streaming pipeline for face payment.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {topic.name: _channel(topic) for topic in topics().values()},
        "operations": _operations(),
        "components": {"messages": _messages()},
    }


def _channel(topic: Topic) -> dict[str, Any]:
    names = topic.values or ("sealed_frame",)
    return {
        "address": topic.name,
        "description": topic.description,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": topic.partitions,
                "topicConfiguration": dict(topic.config),
                "bindingVersion": "0.5.0",
            }
        },
        "x-key": topic.key,
        "x-lane": topic.lane,
    }


def _operations() -> dict[str, Any]:
    operations: dict[str, Any] = {}
    for topic in topics().values():
        reference = {"$ref": f"#/channels/{topic.name}"}
        for part in topic.producers:
            operations[f"{part}.sends.{topic.name}"] = {"action": "send", "channel": reference}
        for part in topic.consumers:
            operations[f"{part}.receives.{topic.name}"] = {"action": "receive", "channel": reference}
    return operations


def _messages() -> dict[str, Any]:
    messages: dict[str, Any] = {
        name: {
            "name": name,
            "contentType": "application/json",
            "headers": HEADERS,
            "payload": {
                "schemaFormat": "application/schema+json;version=draft-07",
                "schema": _rebased(json_schema(event), f"#/components/messages/{name}/payload/schema"),
            },
        }
        for name, event in sorted(TYPES.items())
    }
    messages["sealed_frame"] = {
        "name": "sealed_frame",
        "contentType": "image/jpeg",
        "headers": FRAME_HEADERS,
        "payload": {"type": "string", "format": "binary", "description": "AES-256-GCM: nonce, ciphertext, tag"},
    }
    return messages


def _rebased(schema: dict[str, Any], base: str) -> dict[str, Any]:
    """The schema with its local references made to point at where it stands in the document."""
    text = orjson.dumps({k: v for k, v in schema.items() if k != "$schema"}).decode()
    moved: dict[str, Any] = orjson.loads(text.replace('"#/$defs/', f'"{base}/$defs/'))
    return moved


def render() -> bytes:
    """The document as it is kept in the docs."""
    return orjson.dumps(document(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


if __name__ == "__main__":
    DOCUMENT.write_bytes(render())
