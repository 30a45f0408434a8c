"""Kafka's jars: what arrives is what is pinned, whatever the network, the disk or another process does meanwhile."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import DownloadError, UsageError
from pipeline.local.jars import jar_dir, ready_jars
from pipeline.local.pins import LOCK_FILE, Jar, read_pins
from tests.integration.local.conftest import Mirror
from tests.stack import wait_until

_READY = "from pipeline.local.jars import ready_jars; ready_jars()"


def small(pins: list[Jar]) -> Jar:
    """The smallest pinned jar."""
    return min(pins, key=lambda jar: jar.size)


def fetching(root: Path) -> subprocess.Popen[bytes]:
    """Another process that fetches into the same cache."""
    return subprocess.Popen([sys.executable, "-c", _READY], cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def test_the_lock_file_pins_kafka_by_hash_and_names_no_address(pins: list[Jar]) -> None:
    """Kafka itself is there, each jar once, and nothing says where to get it."""
    assert "org.apache.kafka:kafka_2.13:4.4.0" in {jar.coordinate for jar in pins}
    assert len({jar.sha256 for jar in pins}) == len(pins) >= 44
    assert "://" not in LOCK_FILE.read_text("utf-8")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "org.example:a:1.0\n",
        f"org.example:a:1.0 {'0' * 63} 10\n",
        f"org.example:a:1.0 {'0' * 64} 0\n",
        f"org.example:a/../../b:1.0 {'0' * 64} 10\n",
        f"org.example:a:1.0 {'0' * 64} 10\norg.other:a:1.0 {'1' * 64} 10\n",
    ],
    ids=["empty", "no hash", "short hash", "no bytes", "a path in the name", "one name twice"],
)
def test_a_malformed_lock_file_is_refused(tmp_path: Path, text: str) -> None:
    """A lock file that does not pin what it should is a wrong use, not a reason to download something."""
    path = tmp_path / "kafka.lock"
    path.write_text(text, "utf-8")
    with pytest.raises(UsageError, match="write the file anew"):
        read_pins(path)


def test_an_empty_cache_is_filled_and_a_full_one_asks_nobody(mirror: Mirror, pins: list[Jar]) -> None:
    """Each jar is asked for once; the second time all are verified and none is fetched."""
    lines: list[str] = []
    paths = ready_jars(lines.append)
    assert [path.name for path in paths] == [jar.file_name for jar in pins]
    assert set(mirror.asked.values()) == {1}
    assert len(mirror.asked) == len(pins)
    assert lines[0].startswith("Downloading Apache Kafka: 45 files")
    assert "100 %" in lines[-1]
    mirror.asked.clear()
    ready_jars(lines.append)
    assert not mirror.asked


@pytest.mark.parametrize("damage", ["one bit", "cut", "empty", "same time stamp"])
def test_a_damaged_jar_is_found_at_use_and_fetched_again_alone(mirror: Mirror, pins: list[Jar], damage: str) -> None:
    """The hash covers the bytes at each use: size and time alone would not tell, and the other jars are left alone."""
    victim = ready_jars()[pins.index(small(pins))]
    before = victim.stat()
    good = victim.read_bytes()
    broken = {"cut": good[: len(good) // 2], "empty": b""}.get(damage, good[:-1] + bytes([good[-1] ^ 1]))
    victim.write_bytes(broken)
    if damage == "same time stamp":
        os.utime(victim, ns=(before.st_atime_ns, before.st_mtime_ns))
    mirror.asked.clear()
    lines: list[str] = []
    ready_jars(lines.append)
    assert victim.read_bytes() == good
    assert dict(mirror.asked) == {victim.name: 1}
    assert lines[0] == f"Not what the pin says, fetched again: {victim.name}."
    assert victim.stat().st_mtime_ns == before.st_mtime_ns, "Java's start cache would be refused"


def test_a_download_that_is_cut_off_once_is_begun_again(mirror: Mirror, pins: list[Jar]) -> None:
    """A connection that ends midway costs another request for that jar only."""
    name = small(pins).file_name
    mirror.faults[name] = "cut once"
    ready_jars()
    assert mirror.asked[name] == 2
    assert sum(mirror.asked.values()) == len(pins) + 1


@pytest.mark.parametrize(
    ("fault", "sentence", "requests"),
    [
        ("cut", "was cut off 3 times", 3),
        ("cut untold", "was cut off 3 times", 3),
        ("endless", "has other bytes than kafka.lock pins; nothing was kept", 1),
        ("wrong", "has other bytes than kafka.lock pins; nothing was kept", 1),
        ("longer", "has other bytes than kafka.lock pins; nothing was kept", 1),
        ("missing", "The repository answered 404", 1),
    ],
)
def test_a_jar_that_cannot_be_had_is_one_sentence(
    mirror: Mirror, pins: list[Jar], fault: str, sentence: str, requests: int
) -> None:
    """The jar is named, the address is not, nothing half arrived stays; what cannot get better is asked once."""
    bad = small(pins)
    mirror.faults[bad.file_name] = fault
    with pytest.raises(DownloadError) as failed:
        ready_jars(pins=[bad])
    assert sentence in str(failed.value)
    assert bad.coordinate in str(failed.value)
    assert "://" not in str(failed.value)
    assert mirror.asked[bad.file_name] == requests
    assert [path.name for path in jar_dir().iterdir()] == [".lock"]


def test_another_hash_in_the_lock_file_is_a_download_error(mirror: Mirror, pins: list[Jar]) -> None:
    """A wrong pin is said, and the good jar in the cache under its name is kept as it was."""
    right = small(pins)
    (path,) = ready_jars(pins=[right])
    wrong = Jar(right.group, right.artifact, right.version, "0" * 64, right.size)
    with pytest.raises(DownloadError, match=r"jspecify.* has other bytes than kafka\.lock pins"):
        ready_jars(pins=[wrong])
    assert path.stat().st_size == right.size


def test_what_has_arrived_is_kept_when_another_jar_fails(mirror: Mirror, pins: list[Jar]) -> None:
    """A retry goes on where the first try stopped."""
    mirror.faults[pins[-1].file_name] = "missing"
    with pytest.raises(DownloadError):
        ready_jars()
    kept = {path.name for path in jar_dir().glob("*.jar")}
    assert len(kept) >= len(pins) // 2
    mirror.faults.clear()
    mirror.asked.clear()
    ready_jars()
    assert not kept & set(mirror.asked)


def test_a_killed_download_leaves_a_temporary_file_that_the_next_one_clears(
    mirror: Mirror, pins: list[Jar], root: Path
) -> None:
    """After kill -9 midway the lock is free, the partial file is never taken for a jar, the missing one is fetched."""
    name = pins[-1].file_name
    mirror.faults[name] = "stall"
    other = fetching(root)
    folder = jar_dir()
    wait_until(lambda: list(folder.glob(f"{name}.*.part")), 20, "the download's temporary file")
    wait_until(lambda: len(list(folder.glob("*.jar"))) == len(pins) - 1, 20, "the other jars")
    os.kill(other.pid, signal.SIGKILL)
    other.communicate()
    assert list(folder.glob("*.part"))
    mirror.faults.clear()
    mirror.asked.clear()
    ready_jars()
    assert not list(folder.glob("*.part"))
    assert dict(mirror.asked) == {name: 1}


def test_processes_that_fetch_at_once_fetch_each_jar_once(mirror: Mirror, pins: list[Jar], root: Path) -> None:
    """The first one downloads, the others wait for it and verify what it brought."""
    others = [fetching(root) for _ in range(3)]
    for other in others:
        output, _ = other.communicate(timeout=60)
        assert other.returncode == 0, output.decode()
    assert dict(mirror.asked) == {jar.file_name: 1 for jar in pins}


def test_a_repository_that_is_down_is_one_sentence(
    mirror: Mirror, pins: list[Jar], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No network: three attempts, then what to do."""
    monkeypatch.setenv("FACEPAY_MAVEN_REPOSITORY", "http://127.0.0.1:9")
    with pytest.raises(DownloadError, match=r"was cut off 3 times .*check the network"):
        ready_jars(pins=[small(pins)])


def test_the_fetch_command_ends_with_the_errors_exit_code(mirror: Mirror, pins: list[Jar], root: Path) -> None:
    """`python -m pipeline.local.fetch` says one sentence on standard error and exits 3; standard output stays empty."""
    mirror.faults[pins[0].file_name] = "missing"
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.local.fetch"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 3
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith("The repository answered 404")
    assert "Traceback" not in done.stderr


def test_a_cache_that_cannot_be_written_is_one_sentence(
    mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file where the cache should be: the path and what to do."""
    (tmp_path / "file").write_text("", "utf-8")
    monkeypatch.setenv("FACEPAY_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(Exception, match=r"cannot be made .*choose another place"):
        ready_jars()


def test_a_copied_cache_is_as_good(mirror: Mirror, warm_jars: Path, tmp_path: Path) -> None:
    """Jars that came by another way (an image, a copy) are taken when their bytes are right."""
    shutil.copytree(warm_jars, tmp_path / "cache" / "jars")
    ready_jars()
    assert not mirror.asked
