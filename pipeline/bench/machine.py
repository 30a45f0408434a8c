"""Which machine a benchmark saw: a figure without it says nothing."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from importlib import metadata
from pathlib import Path

LIBRARIES = (
    "confluent-kafka",
    "msgspec",
    "numpy",
    "onnxruntime",
    "onnxruntime-gpu",
    "orjson",
    "simplejpeg",
    "sqlalchemy",
)


def machine() -> dict[str, object]:
    """Processor, cores that this process may use, load, memory, the file system of temporary files, versions."""
    return {
        "processor": _processor(),
        "cores": cores(),
        "load_1min": round(os.getloadavg()[0], 2),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "temporary_files": _file_system(Path(tempfile.gettempdir())),
        "python": platform.python_version(),
        "versions": {name: version for name in LIBRARIES if (version := _version(name)) is not None},
    }


def cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _file_system(folder: Path) -> str:
    """The kind of file system: what a durable commit costs depends on it."""
    try:
        mounts = [line.split() for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()]
    except OSError:
        return "unknown"
    at = folder.resolve()
    holding = [(len(mount[1]), mount[2]) for mount in mounts if at.is_relative_to(mount[1])]
    return max(holding)[1] if holding else "unknown"


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
