"""Who the rows belong to: a code per payer, and where each one's templates are."""

from __future__ import annotations

from collections.abc import Sequence


class Payers:
    """Codes for payer ids. A payer without templates loses the code; `free` lets another have it, and may be called
    only when nobody can be reading rows that carry it."""

    def __init__(self) -> None:
        self.names: list[str] = []
        """The payer id of each code."""
        self._codes: dict[str, int] = {}
        # Nearly every payer has one template, and a million lists would take 60 MB.
        self._places: list[int | list[int]] = []
        self._free: list[int] = []

    def __len__(self) -> int:
        return len(self._codes)

    def code(self, payer_id: str) -> int:
        """The payer's code, -1 if nobody is known by that id."""
        return self._codes.get(payer_id, -1)

    def add(self, payer_id: str, place: int) -> int:
        """Notes a template of this payer; the payer's code."""
        code = self._codes.get(payer_id)
        if code is not None:
            places = self._places[code]
            self._places[code] = [*places, place] if isinstance(places, list) else [places, place]
            return code
        if self._free:
            code = self._free.pop()
            self.names[code], self._places[code] = payer_id, place
        else:
            code = len(self.names)
            self.names.append(payer_id)
            self._places.append(place)
        self._codes[payer_id] = code
        return code

    def drop(self, code: int, place: int) -> bool:
        """Forgets a template; True if it was the payer's last, whose code may be freed in due time."""
        places = self._places[code]
        left = [other for other in places if other != place] if isinstance(places, list) else []
        self._places[code] = left[0] if len(left) == 1 else left
        if not left:
            del self._codes[self.names[code]]
        return not left

    def move(self, code: int, place: int, new: int) -> None:
        """A template lies elsewhere now."""
        places = self._places[code]
        self._places[code] = [new if other == place else other for other in places] if isinstance(places, list) else new

    def places(self, payer_id: str) -> Sequence[int]:
        """Where this payer's templates are, in no order; none if nobody is known by that id."""
        code = self._codes.get(payer_id)
        if code is None:
            return ()
        places = self._places[code]
        return tuple(places) if isinstance(places, list) else (places,)

    def free(self, code: int) -> None:
        """Another payer may have this code."""
        self.names[code] = ""
        self._free.append(code)
