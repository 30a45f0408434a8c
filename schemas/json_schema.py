"""JSON Schemas of the events, generated from the dataclasses, so that other languages can validate what is on a topic.

`python -m schemas.json_schema` writes `schemas/json/*.json`; a test holds that the files are current.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import orjson

from schemas.codec import TYPES
from schemas.events import Event

FOLDER = Path(__file__).parent / "json"
DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema(event: type[Event]) -> dict[str, Any]:
    """The schema of one event, self-contained: definitions under `$defs`, `type` required, further fields allowed."""
    (root,), definitions = msgspec.json.schema_components((event,), ref_template="#/$defs/{name}")
    name = str(root["$ref"]).rsplit("/", 1)[-1]
    schema: dict[str, Any] = {"$schema": DIALECT, **definitions.pop(name)}
    # msgspec sees a default and calls the tag optional; the codec does not: it tells the members of a union apart.
    schema["required"] = ["type", *schema.get("required", [])]
    if definitions:
        schema["$defs"] = definitions
    return schema


def documents() -> dict[str, bytes]:
    """File name to content, for every event."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    return {f"{name}.json": orjson.dumps(json_schema(event), option=options) for name, event in sorted(TYPES.items())}


def write() -> None:
    """Writes the files and removes those of events that are gone."""
    FOLDER.mkdir(exist_ok=True)
    current = documents()
    for old in FOLDER.glob("*.json"):
        if old.name not in current:
            old.unlink()
    for name, content in current.items():
        (FOLDER / name).write_bytes(content)


if __name__ == "__main__":
    write()
