"""A registry of named entries: one JSON file in the keyring's folder that many processes read and a person changes.

It holds one object with one list. A change is a read, a change and a replacement under a lock between processes, so
that none is lost and no reader sees half of one. Each look compares the file's identity and reads it again only when
that changed: an entry that another process added or removed counts from the next look on, and a look costs one `stat`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Generic, TypeVar

import msgspec
import orjson

from pipeline.errors import OutsideError, SettingsError
from pipeline.keys import private_files

T = TypeVar("T")


class RegistryFile(Generic[T]):
    """The entries of type `kind` in `path`, by `name_of`; `what` is how a person calls the registry and `listed_as` the
    list's name in the file. `fault` says what is wrong with an entry beyond its type, or None."""

    def __init__(
        self,
        path: Path,
        *,
        what: str,
        listed_as: str,
        kind: type[T],
        name_of: Callable[[T], str],
        fault: Callable[[T], str | None] = lambda _: None,
    ) -> None:
        self.path = path
        self._what = what
        self._listed_as = listed_as
        self._kind = kind
        self._name_of = name_of
        self._fault = fault
        self._seen: tuple[int, int, int] | None = None
        self._entries: Mapping[str, T] = {}

    def current(self) -> Mapping[str, T]:
        """The entries by name, as of now, in the names' order; none if there is no file. Raises `SettingsError`
        (damaged, readable by others) or `OutsideError`."""
        try:
            facts = self.path.stat()
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise OutsideError(f"opening {self._what} {self.path}: {error.strerror}") from None
        seen = (facts.st_ino, facts.st_mtime_ns, facts.st_size)
        if seen != self._seen:
            self._entries, self._seen = self._read(), seen
        return self._entries

    @contextmanager
    def changing(self) -> Iterator[dict[str, T]]:
        """The entries to change; what they are at the block's end is written, unless it raised. Raises `SettingsError`
        for a malformed entry, and then nothing is written."""
        with private_files.locked(self.path.with_suffix(".lock")):
            entries = dict(self._read())
            yield entries
            listed = [entries[name] for name in sorted(entries)]
            written = orjson.dumps({self._listed_as: listed}, option=orjson.OPT_INDENT_2)
            try:
                self._parsed(written)
            except (msgspec.ValidationError, ValueError) as error:
                raise SettingsError(f"changing {self._what} {self.path}: {error}") from None
            private_files.replace(self.path, written)

    def _read(self) -> Mapping[str, T]:
        if not self.path.exists():
            return {}
        raw = private_files.read(self.path, self._what)
        try:
            return self._parsed(raw)
        except (KeyError, TypeError, ValueError, msgspec.ValidationError) as error:
            raise SettingsError(
                f"opening {self._what} {self.path}: it is damaged ({type(error).__name__}); restore it from a backup"
            ) from None

    def _parsed(self, raw: bytes) -> Mapping[str, T]:
        """The entries in a file's bytes; raises `KeyError`, `TypeError`, `ValueError` (JSON's is one) or
        `msgspec.ValidationError`."""
        listed = msgspec.convert(orjson.loads(raw)[self._listed_as], list[self._kind], strict=True)  # type: ignore[name-defined]
        for entry in listed:
            if (fault := self._fault(entry)) is not None:
                raise ValueError(fault)
        return {self._name_of(entry): entry for entry in listed}
