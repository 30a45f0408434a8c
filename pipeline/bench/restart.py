"""How long an embedding agent takes to have its gallery again: from its snapshot, and from the topic's records.

`python -m pipeline.bench.restart --templates 1000000` fills an index with random templates, writes the sealed snapshot,
drops both, and loads the file as a starting agent does, from the page cache. Beside it, as far as `--opened` says, the
same templates are sealed as records of the topic and opened as the reader opens them, in fetches of 500: what a start
without a snapshot costs per template, Kafka's part not counted. One run each: seconds, not ratios of rounds.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import orjson

from pipeline.bench.machine import machine
from pipeline.bench.own_process import quiet_logs
from pipeline.gallery.index import ExactIndex
from pipeline.gallery.keeping import Keeper
from pipeline.gallery.protect.data_keys import SqlDataKeys, open_data_keys
from pipeline.gallery.protect.transform import Transform
from pipeline.gallery.snapshot import Binding, Snapshots
from pipeline.gallery.templates import open_templates, seal_template
from pipeline.keys.keyring import Keyring
from pipeline.ports import InMessage, Vector
from schemas.codec import decode, encode
from schemas.events import GalleryTemplate
from schemas.ids import derived_id

_FILLED_AT_ONCE = 65_536
_FETCH = 500
_WAIT_S = 600.0


def now_us() -> int:
    """This host's clock."""
    return time.time_ns() // 1000


def vectors(count: int, dimension: int, seed: int) -> Vector:
    """Random directions, float32 (count, dimension)."""
    raw = np.random.default_rng(seed).standard_normal((count, dimension), np.float32)
    raw /= np.linalg.norm(raw, axis=1, keepdims=True)
    return raw


def fill(index: ExactIndex, count: int) -> None:
    """Random templates, two of each payer."""
    for start in range(0, count, _FILLED_AT_ONCE):
        numbers = range(start, min(start + _FILLED_AT_ONCE, count))
        index.put_many(
            [derived_id("restart", "template", str(number)) for number in numbers],
            [derived_id("restart", "payer", str(number // 2)) for number in numbers],
            vectors(len(numbers), index.dimension, start),
            np.zeros(len(numbers), np.bool_),
        )


def from_snapshot(folder: Path, data_keys: SqlDataKeys, count: int, dimension: int) -> dict[str, float]:
    """Seconds to write and to load a snapshot of `count` templates."""
    binding = Binding(
        model_sha256="a" * 64, key_version=1, dimension=dimension, cluster_id="none", topic="gallery", topic_id="none"
    )
    offsets = {0: count}
    index = ExactIndex(dimension)
    fill(index, count)
    snapshots = Snapshots(folder, "bench", data_keys, now_us, max_age_us=10**12)
    keeper = Keeper(snapshots, index, (), now_us, interval_s=0)
    keeper.begin(binding, offsets)
    began = time.monotonic()
    keeper.turn(binding, offsets)
    keeper.stop()
    written_s = time.monotonic() - began
    del index, keeper
    loaded = ExactIndex(dimension)
    keeper = Keeper(snapshots, loaded, (), now_us, interval_s=0)
    began, spent = time.monotonic(), time.process_time()
    found = keeper.begin(binding, offsets)
    loaded_s, loaded_cpu_s = time.monotonic() - began, time.process_time() - spent
    keeper.stop()
    if found != offsets or loaded.size != count:
        raise SystemExit(f"the snapshot was not used: {loaded.size} of {count} templates are there")
    return {
        "written_s": round(written_s, 2),
        "loaded_s": round(loaded_s, 2),
        "loaded_cpu_s": round(loaded_cpu_s, 2),
        "file_bytes": snapshots.path.stat().st_size,
    }


def from_records(keyring: Keyring, data_keys: SqlDataKeys, count: int, dimension: int) -> dict[str, float]:
    """Templates per second, and per second of this process's computing, that are decoded, opened and put into an index,
    as the reader does with a fetch."""
    space = Transform.of(keyring, keyring.gallery_version, dimension)
    payers = [derived_id("restart", "payer", str(number)) for number in range(count)]
    data_keys.create_many(payers, keyring.gallery_version)
    records = [
        InMessage("gallery", 0, number, None, encode(sealed))
        for number, (payer, vector) in enumerate(zip(payers, vectors(count, dimension, 1), strict=True))
        for sealed in [
            seal_template(keyring, data_keys, payer_id=payer, vector=vector, model_sha256="a" * 64, now_us=now_us())
        ]
    ]
    index = ExactIndex(dimension)
    began, spent = time.monotonic(), time.process_time()
    for start in range(0, count, _FETCH):
        events = [decode(record.value, GalleryTemplate) for record in records[start : start + _FETCH]]
        opened = [
            each for each in open_templates(keyring, data_keys, events, space=space) if not isinstance(each, Exception)
        ]
        index.put_many(
            [each.template_id for each in opened],
            [each.payer_id for each in opened],
            np.stack([each.vector for each in opened]),
            np.array([each.lookalike for each in opened], np.bool_),
        )
    return {
        "opened_per_s": round(count / (time.monotonic() - began)),
        "opened_per_cpu_s": round(count / (time.process_time() - spent)),
    }


def main() -> None:
    """Prints one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--templates", type=int, default=100_000)
    parser.add_argument("--opened", type=int, default=20_000)
    parser.add_argument("--dimension", type=int, default=512)
    parser.add_argument("--folder", type=Path, default=None, help="where the file is written; default: a temporary one")
    chosen = parser.parse_args()
    quiet_logs()
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        keyring = Keyring.create(Path(folder) / "keys")
        data_keys = open_data_keys(keyring)
        found: dict[str, object] = {"templates": chosen.templates, "dimension": chosen.dimension}
        found |= from_snapshot(Path(folder) / "snapshots", data_keys, chosen.templates, chosen.dimension)
        found |= from_records(keyring, data_keys, chosen.opened, chosen.dimension)
        found["peak_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        found["machine"] = machine()
    sys.stdout.buffer.write(orjson.dumps(found) + b"\n")


if __name__ == "__main__":
    main()
