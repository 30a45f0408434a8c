"""What `facepay enrol --consent` takes for the text that a payer agreed to."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.cli.enrol import MAX_CONSENT_BYTES, _consent
from pipeline.errors import UsageError
from schemas.codec import sha256_hex

AGREED = "I agree that my face pays."


def test_a_file_is_noted_by_its_hash_and_a_version_by_its_name(tmp_path: Path) -> None:
    """The text itself goes nowhere."""
    file = tmp_path / "2026-01.txt"
    file.write_text(AGREED)
    consent = _consent(str(file), ["face_payment"])
    assert (consent.text_version, consent.text_sha256) == ("2026-01", sha256_hex(AGREED.encode()))
    assert consent.purposes == ("face_payment",)
    assert _consent("2026-01", ["face_payment", "statistics"]).text_sha256 is None


@pytest.mark.parametrize(
    ("text", "purpose", "said"),
    [
        (None, "face_payment", "nobody is enrolled without having agreed"),
        ("no such/text", "face_payment", "neither a file nor the name"),
        ("", "face_payment", "neither a file nor the name"),
        ("2026-01", "Face Payment", "is no purpose"),
    ],
)
def test_what_names_no_text_is_refused(text: str | None, purpose: str, said: str) -> None:
    """In one sentence that says what to pass."""
    with pytest.raises(UsageError, match=said):
        _consent(text, [purpose])


def test_a_file_that_no_person_reads_is_refused(tmp_path: Path) -> None:
    """A film or a database given by mistake."""
    file = tmp_path / "film"
    file.write_bytes(bytes(MAX_CONSENT_BYTES + 1))
    with pytest.raises(UsageError, match="larger than a text"):
        _consent(str(file), ["face_payment"])
