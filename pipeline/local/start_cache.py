"""Java's start cache for Kafka (JDK 25's AOT cache): loaded and linked classes from a file, so that Kafka is ready a
second earlier.

`make` runs Kafka once on an empty folder with the option that writes the file at the end (10 s, 70 MB); it is made
ahead, by `pipeline.local.fetch`, and never while someone waits for a stack. `options` says how to use it. The file's
name holds everything that it depends on: the jars, Java's version and options. Its own SHA-256 is kept beside it and
checked at each use, since Java checks little of it and its content is code. Java compares the jars' times too, so the
download gives them a fixed one. When Java refuses the file all the same (another processor), it starts without it, and
`refusal` finds its complaint in the log.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import FacepayError
from pipeline.local.cache import cache_dir, one_at_a_time, private_dir, sha256_of
from pipeline.local.kafka_server import KafkaServer
from pipeline.local.programs import JAVA_OPTIONS, bundled_kafka, java_version
from pipeline.local.progress import Report

_KEPT = 2  # files of earlier versions that stay beside the current one, for another checkout
_WRITING_S = 120.0  # a slow machine needs that long to write the file when Kafka stops


def _path(jars: Sequence[Path]) -> Path:
    depends_on = [
        java_version(),
        *JAVA_OPTIONS,
        *(f"{jar} {jar.stat().st_size} {jar.stat().st_mtime_ns}" for jar in jars),
    ]
    name = hashlib.sha256("\n".join(depends_on).encode()).hexdigest()[:16]
    return private_dir(cache_dir() / "java") / f"{name}.aot"


def _sum_of(path: Path) -> Path:
    return path.with_suffix(".sha256")


def _is_whole(path: Path) -> bool:
    try:
        return _sum_of(path).read_text("ascii") == sha256_of(path)
    except (OSError, UnicodeDecodeError):
        return False


def options(jars: Sequence[Path]) -> tuple[str, ...]:
    """Java's options that use the cache; none when there is no whole one."""
    path = _path(jars)
    return (f"-XX:AOTCache={path}", "-Xlog:aot*=error") if _is_whole(path) else ()


def refusal(log_lines: Sequence[str]) -> bool:
    """Whether Java said in its log that it does not use the cache."""
    return any("[error" in line and "[aot" in line for line in log_lines)


def make(jars: Sequence[Path], report: Report) -> bool:
    """Makes the cache unless there is one; says whether there is one now. A failure is reported, not raised: Kafka runs
    without it.
    """
    path = _path(jars)
    with one_at_a_time(
        path.parent / ".lock", lambda: report("Another process is preparing Java's start cache: waiting.")
    ):
        if _is_whole(path):
            return True
        report("Preparing Java's start cache for Kafka (once, about ten seconds).")
        for left_over in path.parent.glob("*.part*"):
            left_over.unlink(missing_ok=True)
        unfinished = path.with_suffix(".part")
        try:
            with tempfile.TemporaryDirectory(prefix="facepay-") as folder:
                training = bundled_kafka(jars, (f"-XX:AOTCacheOutput={unfinished}", "-Xlog:aot*=error"))
                kafka = KafkaServer(Path(folder), lambda: training, grace_s=_WRITING_S)
                try:
                    kafka.start()
                finally:
                    kafka.stop()
            _sum_of(path).write_text(sha256_of(unfinished), "ascii")
            unfinished.replace(path)
        except (FacepayError, OSError) as error:
            report(f"Java's start cache could not be made; Kafka will start a second later each time. {error}")
            return False
        for old in sorted(path.parent.glob("*.aot"), key=lambda file: file.stat().st_mtime)[: -1 - _KEPT]:
            old.unlink(missing_ok=True)
            _sum_of(old).unlink(missing_ok=True)
    return True
