"""Model files into a folder: from where they are published, from a folder or from a mirror, verified by SHA-256.

Each file arrives under a temporary name of its own, is hashed on the way and gets its name only when hash and size are
right: a cut-off download leaves nothing that looks like a model, and files that had arrived are kept, so that the next
try goes on where this one stopped. A file that is there already is not fetched again; one that lies under the name but
has other bytes is replaced, and said so. No source is trusted: the manifest's hash decides.

A model that nobody publishes (somebody converted its weights from another format) cannot be fetched: what is said of it
names the source and what to do. Models that ship with the package are copied from it.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import httpx

from pipeline.errors import DownloadError, OutsideError, UsageError
from pipeline.local.cache import one_at_a_time
from pipeline.local.progress import DownloadProgress, Report, to_stderr
from pipeline.vision.models import SHIPPED, ModelSpec, ModelStore

_ATTEMPTS = 3
_PAUSE_S = 0.5  # times the number of the attempt
_TIMEOUT_S = 30.0
_BLOCK_BYTES = 1 << 16
_LARGEST_BYTES = 1 << 30  # of a file whose size the manifest does not say

State = Literal["present", "fetched", "unpublished", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulled:
    """What became of one model; `found` says it in a sentence."""

    spec: ModelSpec
    state: State
    found: str

    @property
    def ok(self) -> bool:
        """The folder holds the model now."""
        return self.state in {"present", "fetched"}


def pull(specs: Sequence[ModelSpec], folder: Path, source: str | None, report: Report | None = None) -> list[Pulled]:
    """Puts the files of `specs` into `folder` (made if it is missing), one after another; what fails keeps no other
    from being tried.

    `source`: a folder that holds them under any names, or an http(s) prefix that their file names are appended to; None
    for the addresses of the manifest. Raises `UsageError` for a source that is neither, `OutsideError` when `folder`
    cannot be written.
    """
    say = report or to_stderr
    origin = _origin(source)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutsideError(
            f"making the models folder {folder}: {error.strerror}; choose another one (--models)"
        ) from None
    waiting = f"Another process is fetching models into {folder}: waiting for it."
    with one_at_a_time(folder / ".pull.lock", lambda: say(waiting)):
        for left_over in folder.glob(".*.part"):
            left_over.unlink(missing_ok=True)
        held = {file.sha256 for file in ModelStore.open(folder).files}
        missing = [spec for spec in specs if spec.sha256 not in held]
        progress = DownloadProgress("models", len(missing), sum(spec.bytes for spec in missing), report)
        with _shown(progress, needed=bool(missing)):
            return [
                Pulled(spec=spec, state="present", found="already there")
                if spec.sha256 in held
                else _fetched(spec, folder, origin, progress, say)
                for spec in specs
            ]


def _fetched(
    spec: ModelSpec, folder: Path, origin: ModelStore | str | None, progress: DownloadProgress, say: Report
) -> Pulled:
    target = folder / spec.file
    if target.exists():
        say(f"{spec.file} is not the file that the manifest names and is replaced.")
    try:
        place = _place(spec, origin)
        if place is None:
            return Pulled(spec=spec, state="unpublished", found=_why_not(spec))
        if isinstance(place, Path):
            _receive(spec, target, _blocks(place), progress)
        else:
            _download(spec, place, target, progress)
    except DownloadError as error:
        return Pulled(spec=spec, state="failed", found=str(error))
    progress.finished()
    return Pulled(spec=spec, state="fetched", found="fetched and verified")


def _origin(source: str | None) -> ModelStore | str | None:
    if source is None:
        return None
    if source.startswith(("http://", "https://")):
        return source.rstrip("/")
    if Path(source).is_dir():
        return ModelStore.open(Path(source), drawn=True)
    raise UsageError(f"reading models from {source}: it is neither a folder nor an http(s) address; correct --from")


def _place(spec: ModelSpec, origin: ModelStore | str | None) -> Path | str | None:
    """Where the model is to be had: a file or an address; None when nowhere."""
    if isinstance(origin, str):
        return f"{origin}/{spec.file}"
    if origin is not None:
        path = next((file.path for file in origin.files if file.sha256 == spec.sha256), None)
        if path is None:
            raise DownloadError(
                f"copying {spec.name} from {origin.folder}: no file there has its SHA-256 {spec.sha256}; look for "
                f"{spec.file} in {spec.source}"
            )
        return path
    if spec.url:
        return spec.url
    shipped = SHIPPED / spec.file
    return shipped if shipped.is_file() else None


def _why_not(spec: ModelSpec) -> str:
    return (
        f"nobody publishes this file: it was made from {spec.source}; if you have {spec.file}, name its folder or your "
        "mirror with --from"
    )


def _download(spec: ModelSpec, address: str, target: Path, progress: DownloadProgress) -> None:
    """Up to three attempts when the network fails, none when the bytes are wrong or the server says no."""
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            # Packed on the way it would arrive with another length and another hash.
            headers = {"Accept-Encoding": "identity"}
            with httpx.stream("GET", address, headers=headers, follow_redirects=True, timeout=_TIMEOUT_S) as response:
                if 400 <= response.status_code < 500:
                    raise DownloadError(
                        f"downloading {spec.name}: the server answered {response.status_code} for {spec.file}; check "
                        "the address, or take the file from elsewhere with --from"
                    )
                response.raise_for_status()
                _receive(spec, target, response.iter_bytes(_BLOCK_BYTES), progress)
        except (httpx.HTTPError, _Short) as error:
            if attempt == _ATTEMPTS:
                raise DownloadError(
                    f"downloading {spec.name}: cut off {_ATTEMPTS} times ({type(error).__name__.lstrip('_')}); check "
                    "the network and try again: what has arrived whole is kept"
                ) from error
            time.sleep(_PAUSE_S * attempt)
        else:
            return


class _Short(Exception):
    """The stream ended before the file did: worth another attempt."""


def _receive(spec: ModelSpec, target: Path, blocks: Iterator[bytes], progress: DownloadProgress) -> None:
    """The stream into `target`, if it is the file that the manifest names; else nothing stays."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
    digest, size = hashlib.sha256(), 0
    try:
        with temporary.open("wb") as file:
            for block in blocks:
                size += len(block)
                if size > (spec.bytes or _LARGEST_BYTES):
                    break
                digest.update(block)
                file.write(block)
                progress.advance(len(block))
        if size < spec.bytes:
            raise _Short
        if digest.hexdigest() != spec.sha256:
            raise DownloadError(
                f"receiving {spec.name}: the bytes have another SHA-256 than {spec.sha256}; nothing was kept: check "
                "the address or the mirror"
            )
        temporary.replace(target)
    except OSError as error:
        raise OutsideError(f"writing {target}: {error.strerror}; make room or choose another folder") from error
    except BaseException:
        progress.advance(-size)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _blocks(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                yield block
    except OSError as error:
        raise DownloadError(f"reading {path}: {error.strerror}; make it readable") from error


@contextmanager
def _shown(progress: DownloadProgress, *, needed: bool) -> Iterator[None]:
    """No bar where nothing is missing."""
    if needed:
        with progress:
            yield
    else:
        yield
