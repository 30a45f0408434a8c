"""A small version of each benchmark on the real parts: what it says has its shape and can be true.

No speed is asserted: a busy machine may be as slow as it likes. What is asserted are relations that hold on any machine
(validation costs more than none, the same models ran as often) and that nothing was lost, doubled or left unseen.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.bench import codec, embed, engine, match, payments, settle
from pipeline.bench.frames import camera_frames
from pipeline.bench.latency import latency
from pipeline.bench.match import MatchPlan
from pipeline.bench.match_oracle import differences, hard_world
from pipeline.bench.rows import Row
from pipeline.bench.topic import fill
from pipeline.bench.transport import transport
from pipeline.local import LocalStack
from pipeline.ports import Emit
from pipeline.runtime.reader import read_topic
from pipeline.settings import Kafka
from schemas.codec import TYPES


def check(row: Row) -> None:
    """A row that can be true: nothing broken, positive figures, a ratio that fits them."""
    assert not row.void, row.void
    assert row.baseline is not None
    assert row.ratio is not None
    assert min(row.ours, row.baseline) > 0
    assert row.ratio.low <= row.ratio.median <= row.ratio.high
    assert row.against


def test_codec() -> None:
    """Decoding and encoding of each type and of all; checking every field costs more than checking none."""
    rows = {row.case: row for row in codec.run(2, events=200)}
    assert set(rows) == {
        f"codec.{way}{kind}" for way in ("decode", "encode") for kind in ("", *(f".{t}" for t in TYPES))
    }
    for row in rows.values():
        check(row)
    whole = rows["codec.decode"]
    assert whole.ratio is not None
    assert whole.ratio.median > 1


@pytest.mark.shared
def test_embed(shared: Path) -> None:
    """The engine and its models alone made the same runs; each stage of the engine was seen."""
    rows, stages = embed.run(1, shared / "models", shared / "faces" / "congress", frames=3)
    assert [row.case for row in rows] == ["embed", "embed.liveness", "embed.decode"]
    for row in rows:
        check(row)
    # Three pictures with a face each, one by one through each model: on a CPU larger batches are no cheaper.
    assert [row.more["runs"] for row in rows[:2]] == [6, 15]
    told = {(stage.case, stage.stage): stage for stage in stages}
    assert {stage for case, stage in told if case == "embed"} == {"detect", "align", "quality", "embed"}
    assert all(stage.ours_wall_us_per_frame > 0 for stage in stages)
    assert told["embed", "detect"].bare_wall_us_per_frame is not None
    assert told["embed", "align"].bare_wall_us_per_frame is None
    alone = ("pixels", "pixels_floor", "align", "align_floor", "quality", "embedder_input")
    assert all(float(str(rows[0].more[f"{part}_cpu_us"])) > 0 for part in alone)
    # More than its parts, less than what the models cost.
    around = float(str(rows[0].more["glue_cpu_us_per_face"]))
    assert 0 < around < float(str(rows[0].more["ours_cpu_us_per_frame"])) / 2


@pytest.mark.shared
def test_engine(shared: Path, stack: LocalStack, tmp_path: Path) -> None:
    """The real agent saw every frame on Kafka once and recognised everybody."""
    kafka = Kafka(bootstrap=stack.addresses.kafka)
    models, people = shared / "models", shared / "faces" / "congress"
    rows, stages = engine.agent(1, models, people, kafka, tmp_path, frames=6, cases=["engine"], warm=False)
    check(rows[0])
    assert rows[0].more["frames"] == 6
    computed = {"unseal", "decode", "detect", "align", "quality", "embed", "search", "vote"}
    assert {*computed, "prepare", "process", "queue"} <= {stage.stage for stage in stages}


@pytest.mark.shared
def test_latency(shared: Path, stack: LocalStack, tmp_path: Path) -> None:
    """Each frame that came at its own time was recognised, after it was captured."""
    kafka = Kafka(bootstrap=stack.addresses.kafka)
    seen = camera_frames(shared / "faces" / "congress", 4)
    row = latency(shared / "models", kafka, tmp_path, seen, frames=12, warm=8)
    check(row)
    assert 0 < float(str(row.more["p50_ms"])) <= row.ours


def test_transport(stack: LocalStack) -> None:
    """Every record came, both ways."""
    row = transport(2, Kafka(bootstrap=stack.addresses.kafka), records=50)
    check(row)
    assert row.more["records"] == 50


def test_match() -> None:
    """Against every other exact search, against memory, and no answer that differs from float64."""
    plan = MatchPlan(2, 500, (16,), (1, 4), probes=8, large=600, checked=((700, 16, 300),))
    rows = match.run(plan)
    cases = ["match.500x16.batch1", "match.500x16.batch4", "match.large.600x16.batch1", "match.oracle.700x16"]
    assert [row.case for row in rows] == cases
    for row in rows[:3]:
        check(row)
    assert {"faiss_cpu_us_per_query", "usearch_cpu_us_per_query"} <= set(rows[0].more)
    assert rows[3].met
    assert rows[3].more["probes"] == 300


def test_an_answer_that_differs_from_the_oracle_is_found() -> None:
    """An index that lost every other template."""
    world = hard_world(300, 16, seed=1)
    index = world.index()
    assert differences(world, index, 50, seed=2) == []
    for name in world.names[::2]:
        index.remove(name)
    assert differences(world, index, 50, seed=2)


def test_settle(stack: LocalStack, tmp_path: Path) -> None:
    """The real loop settled each payment once, by Kafka and by the ledger."""
    kafka = Kafka(bootstrap=stack.addresses.kafka)
    (row,) = settle.run(1, kafka, tmp_path, payments=30, cases=["settle"], warm=False)
    check(row)
    assert row.more["payments"] == 30


def test_a_lost_or_doubled_settlement_is_found(stack: LocalStack, tmp_path: Path) -> None:
    """The check behind the settlement benchmark sees what it is there for."""
    kafka = Kafka(bootstrap=stack.addresses.kafka)
    sides = settle.prepare(kafka, tmp_path, payments=5, layout=(1, 100))
    sides.ours()
    assert sides.void == []
    plan = sides.plan
    assert any("lost" in why for why in payments.broken(kafka, plan.settlements, plan.ledger_url, 6))
    settlement = next(read_topic(kafka, plan.settlements, read_committed=True))
    fill(kafka, [Emit(plan.settlements, b"t-1", settlement.value)])
    assert payments.broken(kafka, plan.settlements, plan.ledger_url, 5) == ["1 settlements doubled"]
