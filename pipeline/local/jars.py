"""The pinned jars on this machine: verified at each start, downloaded when they are missing or not what the pin says.

Theory of operation. `ready_jars` hashes every jar of `kafka.lock` in the user's cache at each start and returns their
paths. There is no stamp that says "verified before": 43 MB take about 50 ms, and a stamp would trust the clock and
whoever wrote it, while the pin is meant to cover the bytes that Java is about to load. What is missing or differs is
downloaded again, alone: each jar goes to a temporary file of its own, is hashed while it arrives, and gets its name
only when hash and size are right. A cut-off download therefore leaves nothing but a temporary file, which the next
holder of the lock deletes; jars that had arrived are kept, so a retry goes on where it stopped. The repository is
whatever `maven-artifact` uses, or `FACEPAY_MAVEN_REPOSITORY` (a mirror); it is not trusted.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pipeline.errors import DownloadError, OutsideError, UsageError
from pipeline.local.cache import cache_dir, one_at_a_time, private_dir, sha256_of
from pipeline.local.pins import Jar, read_pins
from pipeline.local.progress import DownloadProgress, Report, to_stderr

_PARALLEL = 6
_ATTEMPTS = 3
_TIMEOUT_S = (10.0, 30.0)  # to connect, between two reads
_FIXED_MTIME_S = (
    1_600_000_000  # Java's start cache refuses jars whose time has changed, also when the bytes are the same.
)


class Repository:
    """Reads artifacts through `maven-artifact`. Raises UsageError when the extra `local` is not installed."""

    def __init__(self) -> None:
        try:
            from maven_artifact import Artifact, Downloader
        except ImportError as error:
            raise UsageError("The local Kafka needs the package's extra 'local': install 'facepay[local]'.") from error
        mirror = os.environ.get("FACEPAY_MAVEN_REPOSITORY")
        self._downloader = Downloader(mirror) if mirror else Downloader()
        self._artifact = Artifact

    def chunks(self, group: str, artifact: str, version: str, extension: str) -> Generator[bytes, None, None]:
        """The artifact's bytes as they arrive. Raises DownloadError when the repository does not give it, _CutOff when
        it may yet.
        """
        name = f"{group}:{artifact}:{version}"

        def failed(_address: str, error: Exception) -> None:
            response = getattr(error, "response", None)
            status = getattr(response, "status_code", None)
            if response is not None:
                response.close()
            if status is None or status >= 500:
                raise _CutOff(_reason(error)) from error
            raise DownloadError(
                f"The repository answered {status} when asked for {name} ({extension}); check the mirror or the pin."
            )

        from requests import RequestException

        address = self._downloader.resolver.uri_for_artifact(
            self._artifact(group, artifact, version, extension=extension)
        )
        try:
            with self._downloader.requestor.request(address, failed, stream=True, timeout=_TIMEOUT_S) as response:
                yield from response.iter_content(1 << 16)
        except RequestException as error:
            raise _CutOff(_reason(error)) from error

    def read(self, group: str, artifact: str, version: str, extension: str) -> bytes:
        """All bytes of a small artifact. Raises DownloadError."""
        try:
            return b"".join(self.chunks(group, artifact, version, extension))
        except _CutOff as error:
            raise DownloadError(
                f"Downloading {group}:{artifact}:{version} was cut off ({error}); try again."
            ) from error


class _CutOff(Exception):
    """The network failed midway: worth another attempt."""


def _reason(error: Exception) -> str:
    """The kind of failure without the address in it."""
    return type(error).__name__


def jar_dir() -> Path:
    """Where the jars are kept."""
    return private_dir(cache_dir() / "jars")


def ready_jars(report: Report | None = None, pins: list[Jar] | None = None) -> list[Path]:
    """Paths of all pinned jars, in class path order, every one verified by its hash in this call.

    Downloads what is missing or differs, with progress on standard error (or lines to `report`). Raises DownloadError
    when a jar cannot be had or is not what the pin says, OutsideError when the cache cannot be written, UsageError when
    the extra `local` is missing.
    """
    jars = read_pins() if pins is None else pins
    folder = jar_dir()
    if _not_right(folder, jars):
        say = report or to_stderr
        with one_at_a_time(folder / ".lock", lambda: say("Another process is downloading Kafka: waiting for it.")):
            for left_over in folder.glob("*.part"):
                left_over.unlink(missing_ok=True)
            wrong = _not_right(folder, jars)
            if wrong:
                damaged = [jar.file_name for jar in wrong if (folder / jar.file_name).exists()]
                if damaged:
                    say(f"Not what the pin says, fetched again: {', '.join(damaged)}.")
                _download_all(folder, wrong, report)
    return [folder / jar.file_name for jar in jars]


def _not_right(folder: Path, jars: list[Jar]) -> list[Jar]:
    """The jars whose file is absent or has other bytes than pinned (hashlib lets threads run beside each other)."""

    def right(jar: Jar) -> bool:
        path = folder / jar.file_name
        try:
            return path.stat().st_size == jar.size and sha256_of(path) == jar.sha256
        except FileNotFoundError:
            return False
        except OSError as error:
            raise OutsideError(
                f"{path} cannot be read ({error.strerror}); remove it or choose another FACEPAY_CACHE."
            ) from error

    with ThreadPoolExecutor(_PARALLEL) as pool:
        return [jar for jar, is_right in zip(jars, pool.map(right, jars), strict=True) if not is_right]


def _download_all(folder: Path, jars: list[Jar], report: Report | None) -> None:
    """Downloads in parallel; the first failure, or Ctrl-C, stops the others within one block."""
    repository = Repository()
    stop = threading.Event()
    progress = DownloadProgress("Apache Kafka", len(jars), sum(jar.size for jar in jars), report)
    with progress, ThreadPoolExecutor(_PARALLEL) as pool:
        futures = [pool.submit(_download, repository, folder, jar, progress, stop) for jar in jars]
        try:
            for future in futures:
                future.result()
        except BaseException:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _download(
    repository: Repository, folder: Path, jar: Jar, progress: DownloadProgress, stop: threading.Event
) -> None:
    """One jar: up to three attempts when the network fails, none when the bytes are wrong."""
    for attempt in range(1, _ATTEMPTS + 1):
        got = 0

        def arrived(count: int) -> None:
            nonlocal got
            got += count
            progress.advance(count)

        try:
            _receive(repository, folder, jar, arrived, stop)
        except _CutOff as error:
            progress.advance(-got)
            if attempt == _ATTEMPTS or stop.is_set():
                raise DownloadError(
                    f"Downloading {jar.coordinate} was cut off {_ATTEMPTS} times ({error}); check the network and try"
                    " again: what has arrived is kept."
                ) from error
            stop.wait(0.5 * attempt)
        else:
            progress.finished()
            return


def _receive(
    repository: Repository, folder: Path, jar: Jar, arrived: Callable[[int], None], stop: threading.Event
) -> None:
    temporary = folder / f"{jar.file_name}.{os.getpid()}.part"
    digest, size = hashlib.sha256(), 0
    try:
        chunks = repository.chunks(jar.group, jar.artifact, jar.version, "jar")
        with contextlib.closing(chunks), temporary.open("wb") as file:
            for block in chunks:
                if stop.is_set():
                    raise _CutOff("stopped")
                size += len(block)
                if size > jar.size:
                    break
                digest.update(block)
                file.write(block)
                arrived(len(block))
        if size < jar.size:
            raise _CutOff(f"{size} of {jar.size} bytes")
        if size > jar.size or digest.hexdigest() != jar.sha256:
            raise DownloadError(
                f"{jar.coordinate} has other bytes than kafka.lock pins; nothing was kept: check the mirror or the pin."
            )
        os.utime(temporary, (time.time(), _FIXED_MTIME_S))
        temporary.replace(folder / jar.file_name)
    except OSError as error:
        raise OutsideError(
            f"{folder / jar.file_name} cannot be written ({error.strerror}); make room or set FACEPAY_CACHE."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
