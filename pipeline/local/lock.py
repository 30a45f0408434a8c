"""Writes `kafka.lock`: `python -m pipeline.local.lock` (needs the extra `local` and the network; about a minute).

The roots are Kafka itself and the bridge that lets its log messages reach log4j (Kafka's own distribution adds it too;
without it a broker that fails says nothing). From their POMs the runtime closure is resolved as Maven does it: breadth
first, the declaration nearest to the root wins, scopes `compile` and `runtime`, optional ones and exclusions left out,
versions taken from parents, properties, managed dependencies and imported bills of materials. Each jar is then
downloaded once and its SHA-256 and size are written. A change of Kafka's version is a change of `ROOTS`, a run of this
program, and a look at the difference.
"""

from __future__ import annotations

import hashlib
import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from functools import cache

from pipeline.errors import DownloadError
from pipeline.local.jars import Repository
from pipeline.local.pins import LOCK_FILE, Jar
from pipeline.local.progress import to_stderr

ROOTS = ("org.apache.kafka:kafka_2.13:4.4.0", "org.apache.logging.log4j:log4j-slf4j-impl:2.25.5")
_HEADER = """\
# The jars of the local Kafka, in class path order: group:artifact:version sha256 bytes.
# Written by `python -m pipeline.local.lock`; do not edit.
"""


@dataclass(slots=True)
class _Pom:
    """What is needed of one POM, its parents merged in, properties replaced."""

    properties: dict[str, str] = field(default_factory=dict)
    managed: dict[str, str] = field(default_factory=dict)
    dependencies: list[tuple[str, str, frozenset[str]]] = field(
        default_factory=list
    )  # (group:artifact, version, exclusions)


def _text(element: ET.Element, name: str) -> str:
    return (element.findtext(f"{{*}}{name}") or "").strip()


@cache
def _pom(group: str, artifact: str, version: str) -> _Pom:
    """The effective POM of one artifact."""
    text = Repository().read(group, artifact, version, "pom")
    root = ET.fromstring(text)  # noqa: S314 - a developer's tool, whose result is reviewed
    pom = _Pom()
    parent = root.find("{*}parent")
    if parent is not None:
        above = _pom(_text(parent, "groupId"), _text(parent, "artifactId"), _text(parent, "version"))
        pom.properties.update(above.properties)
        pom.managed.update(above.managed)
        pom.dependencies.extend(above.dependencies)
    for entry in root.findall("{*}properties/*"):
        pom.properties[entry.tag.rpartition("}")[2]] = (entry.text or "").strip()
    pom.properties |= {
        "project.groupId": group,
        "project.artifactId": artifact,
        "project.version": version,
        "pom.version": version,
    }
    if parent is not None:
        pom.properties["project.parent.version"] = _text(parent, "version")

    def filled(text: str) -> str:
        for _ in range(10):
            text, count = re.subn(r"\$\{([^}]+)\}", lambda m: pom.properties.get(m[1], m[0]), text)
            if not count:
                break
        return text

    for entry in root.findall("{*}dependencyManagement/{*}dependencies/{*}dependency"):
        name = f"{filled(_text(entry, 'groupId'))}:{filled(_text(entry, 'artifactId'))}"
        if _text(entry, "scope") == "import":
            bill = _pom(*name.split(":"), filled(_text(entry, "version")))
            pom.managed |= {key: value for key, value in bill.managed.items() if key not in pom.managed}
        else:
            pom.managed[name] = filled(_text(entry, "version"))
    for entry in root.findall("{*}dependencies/{*}dependency"):
        name = f"{filled(_text(entry, 'groupId'))}:{filled(_text(entry, 'artifactId'))}"
        wanted = (_text(entry, "scope") or "compile") in ("compile", "runtime") and _text(entry, "optional") != "true"
        if not wanted or _text(entry, "classifier") or (_text(entry, "type") or "jar") != "jar":
            continue
        exclusions = frozenset(
            f"{_text(e, 'groupId')}:{_text(e, 'artifactId')}" for e in entry.findall("{*}exclusions/{*}exclusion")
        )
        pom.dependencies.append((name, filled(_text(entry, "version")) or pom.managed.get(name, ""), exclusions))
    return pom


def closure(roots: tuple[str, ...] = ROOTS) -> list[tuple[str, str, str]]:
    """(group, artifact, version) of every jar that the roots need at run time, nearest first. Raises DownloadError."""
    chosen: dict[str, str] = {}
    queue: list[tuple[str, str, frozenset[str]]] = []
    for root in roots:
        name, _, version = root.rpartition(":")
        queue.append((name, version, frozenset()))
    while queue:
        level, queue = queue, []
        for name, version, excluded in level:
            if name in chosen:
                continue
            if not version or "${" in version:
                raise DownloadError(f"The version of {name} could not be resolved from the POMs (found {version!r}).")
            chosen[name] = version
            for below, its_version, more in _pom(*name.split(":"), version).dependencies:
                names = {below, f"*:{below.partition(':')[2]}", f"{below.partition(':')[0]}:*", "*:*"}
                if not names & excluded:
                    queue.append((below, its_version, excluded | more))
    return [(*name.split(":"), version) for name, version in chosen.items()]  # type: ignore[misc]


def write_lock() -> list[Jar]:
    """Resolves, downloads and hashes the closure and writes `kafka.lock`. Raises DownloadError."""
    jars: list[Jar] = []
    for group, artifact, version in closure():
        content = Repository().read(group, artifact, version, "jar")
        jars.append(Jar(group, artifact, version, hashlib.sha256(content).hexdigest(), len(content)))
        to_stderr(f"{len(jars):3} {jars[-1].coordinate} {len(content):,} bytes")
    LOCK_FILE.write_text(_HEADER + "".join(f"{jar.coordinate} {jar.sha256} {jar.size}\n" for jar in jars), "utf-8")
    return jars


if __name__ == "__main__":
    pinned = write_lock()
    to_stderr(f"{len(pinned)} jars, {sum(jar.size for jar in pinned) / 1e6:.1f} MB pinned in {LOCK_FILE.name}.")
