"""The mirror against Redis' own vector sets (VADD, VSIM; Redis 8), where the Redis found here has them.

Both hold the same templates of the hot payers and are asked for the best two. A vector set is an HNSW graph in the
server, in the clear, since the server must compute with it: one VSIM per probe, a batch in one pipeline; what it says
is approximate unless it is told `TRUTH`. The mirror is a matrix in the agent, with all its checks of whether a hit may
stand. Compared is wall time as the agent feels it; what the server computes is told apart (`INFO cpu`), as are the
probes for which it names another best payer than a full comparison in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from redis import Redis
from redis.exceptions import ResponseError

from pipeline.bench.rounds import Run, interleave, timed
from pipeline.bench.rows import Row, speed_row
from pipeline.ports import Vector

BATCHES = (1, 64)
_KEY = "facepay-bench-vectors"
_LOADED_AT_ONCE = 500

Search = Callable[[Vector], object]


@dataclass(frozen=True, slots=True)
class Kind:
    """A way to keep and to search a vector set: what VADD and VSIM are told besides."""

    name: str
    add: tuple[str, ...] = ()
    search: tuple[str, ...] = ()


KINDS = (Kind("int8", ("Q8",)), Kind("float32", ("NOQUANT",)), Kind("float32.exact", ("NOQUANT",), ("TRUTH",)))


def supported(client: Redis) -> bool:
    """Whether the server has vector sets."""
    try:
        client.execute_command("VCARD", _KEY)  # type: ignore[no-untyped-call]
    except ResponseError:
        return False
    return True


def rows(client: Redis, rounds: int, mirror: Search, templates: Vector, probes: Vector) -> list[Row]:
    """A row per kind and batch; `mirror` searches `templates`, float32 (n, d), each of another payer."""
    best = np.argmax(probes.astype(np.float64) @ templates.astype(np.float64).T, axis=1)
    found = []
    for kind in KINDS:
        vectors = VectorSet(client, kind, templates)
        other = sum(int(next(iter(two))) != int(row) for two, row in zip(vectors.search(probes), best, strict=True))
        found += [_row(vectors, rounds, mirror, probes, batch, other) for batch in BATCHES]
        vectors.drop()
    return found


def _row(vectors: VectorSet, rounds: int, mirror: Search, probes: Vector, batch: int, other: int) -> Row:
    parts = [probes[start : start + batch] for start in range(0, len(probes), batch)]
    before = vectors.server_cpu_s()
    samples = interleave({"ours": _over(parts, mirror), "vsim": _over(parts, vectors.search)}, rounds)
    used = vectors.server_cpu_s() - before
    return speed_row(
        f"hot.vsim.{vectors.kind.name}.{vectors.count}x{probes.shape[1]}.batch{batch}",
        samples["ours"],
        samples["vsim"],
        item="query",
        clock="wall",
        against=f"VSIM of Redis {vectors.version}",
        more={
            "probes": len(probes),
            "vsim_other_best_payer": other,
            "vsim_server_cpu_us_per_query": used / ((rounds + 1) * len(probes)) * 1e6,
            "vsim_bytes_per_template": vectors.bytes_per_template,
        },
    )


def _over(parts: Sequence[Vector], search: Search) -> Run:
    def every() -> int:
        for part in parts:
            search(part)
        return sum(len(part) for part in parts)

    return lambda: timed(every)


class VectorSet:
    """A vector set of `templates`, the element of row i named i."""

    def __init__(self, client: Redis, kind: Kind, templates: Vector) -> None:
        self.kind = kind
        self.count = len(templates)
        self._client = client
        client.delete(_KEY)
        empty = self._memory()
        for start in range(0, self.count, _LOADED_AT_ONCE):
            with client.pipeline(transaction=False) as pipe:
                for row in range(start, min(start + _LOADED_AT_ONCE, self.count)):
                    pipe.execute_command("VADD", _KEY, "FP32", templates[row].tobytes(), row, *kind.add)  # type: ignore[no-untyped-call]
                pipe.execute()
        self.bytes_per_template = (self._memory() - empty) / self.count

    @property
    def version(self) -> str:
        """Of the server."""
        return str(self._client.info("server")["redis_version"])

    def search(self, probes: Vector) -> list[Mapping[bytes, float]]:
        """The best two elements of each probe with their scores, the best first; all in one pipeline."""
        with self._client.pipeline(transaction=False) as pipe:
            for probe in probes:
                told = ("FP32", probe.tobytes(), "WITHSCORES", "COUNT", 2, *self.kind.search)
                pipe.execute_command("VSIM", _KEY, *told)  # type: ignore[no-untyped-call]
            answers: list[Mapping[bytes, float]] = pipe.execute()
        return answers

    def server_cpu_s(self) -> float:
        """CPU seconds of the server so far."""
        used = self._client.info("cpu")
        return float(used["used_cpu_user"]) + float(used["used_cpu_sys"])

    def drop(self) -> None:
        """Removes it from the server."""
        self._client.delete(_KEY)

    def _memory(self) -> int:
        return int(self._client.info("memory")["used_memory"])
