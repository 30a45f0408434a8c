"""The survey: of each key the newest word, also where a re-key's copy stands above it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pipeline.gallery.survey import REWRITTEN_FROM, Survey, survey
from pipeline.ports import InMessage
from schemas.codec import encode
from schemas.events import GalleryTemplate
from schemas.ids import derived_id

A, B = "a" * 64, "b" * 64
OLD, NEW, GONE, JUNK = 1, 2, None, 0


def record(
    offset: int, key: str, version: int | None, *, repeats: int | None = None, model: str = A, payer: str = "p"
) -> InMessage:
    """A record of the gallery's topic; `version` None is a tombstone, 0 no template."""
    template = GalleryTemplate(
        event_id=derived_id("event"),
        template_id=derived_id(key),
        payer_id=derived_id(payer),
        model_sha256=model,
        key_version=version or 1,
        sealed="AAAA",
        enrolled_at_us=7,
    )
    value = None if version is None else b"{" if version == 0 else encode(template)
    headers = () if repeats is None else ((REWRITTEN_FROM, str(repeats).encode()),)
    return InMessage("gallery", 0, offset, key.encode(), value, headers)


@pytest.mark.parametrize(
    ("records", "below", "overtaken"),
    [
        ([record(0, "x", OLD)], {0}, set()),
        ([record(0, "x", NEW)], set(), set()),
        ([record(0, "x", OLD), record(1, "x", GONE)], set(), set()),
        ([record(0, "x", JUNK)], set(), set()),
        ([record(0, "x", OLD), record(1, "x", NEW, repeats=0)], set(), set()),
        # Others spoke between the reading of 0 and the copy of it.
        ([record(0, "x", OLD), record(1, "x", GONE), record(2, "x", NEW, repeats=0)], set(), {1}),
        ([record(0, "x", OLD), record(1, "x", OLD), record(2, "x", NEW, repeats=0)], set(), {1}),
        # Said again.
        (
            [
                record(0, "x", OLD),
                record(1, "x", GONE),
                record(2, "x", NEW, repeats=0),
                record(3, "x", GONE, repeats=1),
            ],
            set(),
            set(),
        ),
        # A word after the copy counts by itself.
        ([record(0, "x", OLD), record(1, "x", NEW, repeats=0), record(2, "x", OLD)], {2}, set()),
        # The original was compacted away.
        ([record(1, "x", NEW, repeats=0)], set(), set()),
        # Keys do not disturb each other.
        ([record(0, "x", OLD), record(1, "y", GONE), record(2, "x", NEW, repeats=0)], set(), set()),
    ],
)
def test_what_is_left_to_do(records: Sequence[InMessage], below: set[int], overtaken: set[int]) -> None:
    """Offsets of templates of an older version, and of words that a copy hides."""
    seen = survey(records)
    assert set(seen.below(2).get(0, ())) == below
    assert set(seen.overtaken.get(0, ())) == overtaken
    assert seen.ends == {0: records[-1].offset + 1}


def test_models_and_payers() -> None:
    """Templates by model and version, who has one of a model, and who would be lost by a switch to it."""
    seen = Survey()
    for message in (
        record(0, "one", OLD, payer="p"),
        record(1, "two", NEW, payer="p", model=B),
        record(2, "three", OLD, payer="q"),
        record(3, "four", OLD, payer="r"),
        record(4, "four", GONE),
        record(5, "five", JUNK),
    ):
        seen.see(message)
    p, q, both = derived_id("p"), derived_id("q"), frozenset({derived_id("p"), derived_id("q")})
    assert seen.templates == {(A, 1): 2, (B, 2): 1}
    assert (seen.payers(), seen.payers(A), seen.payers(B)) == (both, both, frozenset({p}))
    assert (seen.lost(B), seen.lost(A), seen.damaged) == (frozenset({q}), frozenset[str](), 1)
