"""The hot tier: does it ever decide otherwise, how much of a region's day does it answer, and why no search in Redis.

- `hot.errors`: millions of searches with lookalikes outside the hot set (`hot_errors`);
- `hot.commuters`: a region's regulars over days, through a real Redis (`hot_replay`, `commuters`);
- `hot.vsim`: the mirror against Redis' own vector sets, where the Redis found here has them (`vector_sets`);
- `hot.people`: the people drawn for all that beside real portraits, where those are there (`population`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from redis import Redis

from pipeline.bench import hot_errors, hot_replay, population, vector_sets
from pipeline.bench.own_process import in_own_process
from pipeline.bench.rows import Row
from pipeline.errors import UsageError
from pipeline.gallery.hot.layout import Entry
from pipeline.gallery.hot.mirror import Mirror
from pipeline.local import LocalStack

LIMIT_S = 14_400.0
_COSINES = ("mated_mean", "mated_sd", "non_mated_mean", "non_mated_sd", "non_mated_1e3", "noise_sd")
_RATIOS = ("noise_kurtosis", "noise_predicted")


@dataclass(frozen=True, slots=True, kw_only=True)
class HotPlan:
    """What to measure and how much of it; `models` and `people` as in `Needs`."""

    rounds: int
    models: Path | None = None
    people: Path | None = None
    errors: hot_errors.ErrorPlan = field(default_factory=hot_errors.ErrorPlan)
    replay: hot_replay.ReplayPlan = field(default_factory=hot_replay.ReplayPlan)
    vectors: int = 10_000
    probes: int = 256


def run(plan: HotPlan) -> tuple[list[Row], Mapping[str, str]]:
    """The rows, and what was skipped and why."""
    rows: list[Row] = []
    skipped: dict[str, str] = {}
    for name, part in (("hot.people", people), ("hot.vsim", vsim)):
        try:
            rows += in_own_process(part, plan, limit_s=LIMIT_S)
        except UsageError as error:
            skipped[name] = str(error)
    rows += in_own_process(hot_replay.run, plan.replay, limit_s=LIMIT_S)
    rows += in_own_process(hot_errors.run, plan.errors, limit_s=LIMIT_S)
    return rows, skipped


def people(plan: HotPlan) -> list[Row]:
    """The law of the drawn people beside that of the portraits; raises `UsageError` where there are none."""
    if plan.models is None or plan.people is None:
        raise UsageError(
            "comparing drawn people with portraits: no models or no portraits lie beside this checkout (../shared);"
            " pass --models and --people"
        )
    real, drawn = asdict(population.measured(plan.models, plan.people)), asdict(population.drawn())
    hard = asdict(population.drawn("hard"))
    against = f"the persons in {plan.people.name} who have two photographs, as the embedder sees them"
    return [
        Row(
            case=f"hot.people.{name}",
            unit="ratio" if name in _RATIOS else "cosine",
            ours=drawn[name],
            baseline=real[name],
            ratio=None,
            against=against,
            more={"hard": hard[name], "pairs_drawn": drawn["pairs"], "pairs": real["pairs"]},
        )
        for name in (*_COSINES, *_RATIOS)
    ]


def vsim(plan: HotPlan) -> list[Row]:
    """The mirror against vector sets; raises `UsageError` where the Redis found here has none."""
    with (
        TemporaryDirectory(prefix="facepay-bench-") as name,
        LocalStack(Path(name) / "stack", kafka=False) as stack,
        Redis.from_url(stack.addresses.redis) as client,
    ):
        if not vector_sets.supported(client):
            raise UsageError("no Redis with vector sets; put the redis-server of Redis 8 or newer first on PATH")
        drawn = population.Population((1, 3))
        identities = drawn.identities(plan.vectors)
        templates = drawn.pictures(identities)
        seen = drawn.pictures(identities[drawn.draw.integers(plan.vectors, size=plan.probes)])
        mirror = Mirror(drawn.dimension)
        for row, template in enumerate(templates):
            mirror.put(str(row), Entry(str(row), (str(row),), template[None]))
        return vector_sets.rows(client, plan.rounds, mirror.search, templates, seen)
