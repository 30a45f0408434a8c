"""What `kafka.lock` says: the exact jars that run the local Kafka.

Each line of the file is `group:artifact:version sha256 bytes`; `#` starts a comment. There are no addresses in it:
where a jar comes from does not matter, its bytes do. The order of the lines is the order of the class path. `python -m
pipeline.local.lock` writes it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import UsageError

LOCK_FILE = Path(__file__).with_name("kafka.lock")
_LINE = re.compile(r"([\w.-]+):([\w.-]+):([\w.-]+) ([0-9a-f]{64}) ([1-9]\d*)")


@dataclass(frozen=True, slots=True)
class Jar:
    """One pinned jar; `size` is in bytes."""

    group: str
    artifact: str
    version: str
    sha256: str
    size: int

    @property
    def coordinate(self) -> str:
        """`group:artifact:version`, as Maven writes it."""
        return f"{self.group}:{self.artifact}:{self.version}"

    @property
    def file_name(self) -> str:
        """The jar's name in the cache."""
        return f"{self.artifact}-{self.version}.jar"


def read_pins(path: Path = LOCK_FILE) -> list[Jar]:
    """The pinned jars in class path order. Raises UsageError for a malformed line, a name that occurs twice or an empty
    file.
    """
    jars: list[Jar] = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
        text = line.split("#", 1)[0].strip()
        if not text:
            continue
        match = _LINE.fullmatch(text)
        if match is None:
            raise UsageError(
                f"Line {number} of {path} is not 'group:artifact:version sha256 bytes'; write the file anew."
            )
        group, artifact, version, sha256, size = match.groups()
        jars.append(Jar(group, artifact, version, sha256, int(size)))
    if not jars or len({jar.file_name for jar in jars}) != len(jars):
        raise UsageError(f"{path} pins no jar, or two of one name; write the file anew.")
    return jars
