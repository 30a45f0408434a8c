"""`facepay enrol` as a person runs it: real models, real portraits, the real Kafka."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.gallery.index import ExactIndex
from pipeline.gallery.journal import read_chain
from pipeline.gallery.protect.data_keys import open_data_keys
from pipeline.gallery.reader import GalleryReader
from pipeline.keys.keyring import Keyring
from pipeline.local import LocalStack
from pipeline.runtime.admin import apply
from pipeline.runtime.reader import read_topic
from pipeline.settings import Kafka
from pipeline.topics import PAYERS
from schemas.codec import decode
from schemas.events import GalleryTemplate


@dataclass
class Command:
    root: Path
    env: dict[str, str]

    def __call__(self, *arguments: str | Path) -> tuple[int, dict[str, object], str]:
        """As `run`, enrolling with a consent."""
        return self.run("enrol", "--consent", "2026-01", *arguments)

    def run(self, *arguments: str | Path) -> tuple[int, dict[str, object], str]:
        """Exit code, the JSON object on standard output, standard error."""
        done = subprocess.run(
            [sys.executable, "-m", "pipeline.cli", *map(str, arguments), "--json"],
            cwd=self.root, env=self.env, capture_output=True, text=True, timeout=90, check=False,
        )  # fmt: skip
        return done.returncode, json.loads(done.stdout.splitlines()[-1]) if done.stdout else {}, done.stderr


@pytest.fixture
def people(shared: Path) -> list[list[Path]]:
    """Two photographs each of three people."""
    congress = shared / "faces" / "congress"
    by_identity: dict[str, list[Path]] = {}
    with (congress / "same_pairs.csv").open() as file:
        for row in csv.DictReader(file):
            by_identity.setdefault(row["identity"], [congress / row["file_x"], congress / row["file_y"]])
    return list(by_identity.values())


@pytest.fixture
def enrol(own_stack: LocalStack, shared: Path, root: Path, tmp_path: Path) -> Command:
    Keyring.create(tmp_path / "keys")
    apply(Kafka(bootstrap=own_stack.addresses.kafka))
    env = {
        **os.environ,
        "FACEPAY_KAFKA__BOOTSTRAP": own_stack.addresses.kafka,
        "FACEPAY_KEYS__DIRECTORY": str(tmp_path / "keys"),
        "FACEPAY_VISION__MODELS": str(shared / "models"),
        "FACEPAY_REDIS__URL": own_stack.addresses.redis,
    }
    return Command(root, env)


@pytest.mark.slow
def test_enrolling_people(enrol: Command, people: list[list[Path]], tmp_path: Path) -> None:
    """Two pictures of one person make one payer with two templates; the same person as another payer, two people
    as one, and a broken file are refused for their own reasons, and a declared twin is not; what was enrolled is what a
    reader then finds, and what was erased is not."""
    pin = tmp_path / "pin"
    pin.touch(mode=0o600)
    pin.write_text("2468\n")
    code, first, said = enrol(*people[0], "--pin-file", pin)
    assert code == 0, said
    ids = first["template_ids"]
    assert isinstance(ids, list)
    assert len(ids) == 2

    code, refused, said = enrol(people[0][0])
    assert (code, refused["refused"], refused["template_ids"]) == (1, "already_enrolled", [])
    assert "another payer has this face" in said

    code, refused, _ = enrol(people[1][0], people[2][0])
    assert (code, refused["refused"]) == (1, "inconsistent")

    code, again, _ = enrol(people[0][0], "--payer", str(first["payer_id"]))
    assert (code, again["template_ids"]) == (0, [ids[0]])

    code, second, said = enrol(people[1][0])
    assert code == 0, said
    assert second["payer_id"] != first["payer_id"]

    (tmp_path / "broken.jpg").write_bytes(b"junk")
    code, _, said = enrol(tmp_path / "broken.jpg")
    assert code == 2
    assert "broken.jpg" in said

    code, twin, said = enrol(people[0][1], "--twin-of", str(first["payer_id"]))
    assert (code, twin["lookalikes"]) == (0, 1), said

    kafka = Kafka(bootstrap=enrol.env["FACEPAY_KAFKA__BOOTSTRAP"])
    written = [decode(m.value, GalleryTemplate) for m in read_topic(kafka, "gallery", read_committed=False)]
    keyring = Keyring.open(Path(enrol.env["FACEPAY_KEYS__DIRECTORY"]))
    reader = GalleryReader(kafka, keyring, ExactIndex(128), written[0].model_sha256, open_data_keys(keyring))
    reader.start()
    assert reader.wait_ready(20)
    reader.stop()
    assert (reader.size, reader.refused) == (4, {})
    flags = {t.payer_id: bool(t.lookalike) for t in {t.template_id: t for t in written}.values()}
    assert flags == {first["payer_id"]: True, twin["payer_id"]: True, second["payer_id"]: False}
    assert {m.key for m in read_topic(kafka, PAYERS, read_committed=False)} == {str(first["payer_id"]).encode()}

    code, shown, said = enrol.run("consent", "show", str(first["payer_id"]))
    assert (code, shown["chain"]) == (0, "ok"), said
    assert shown["consent"] == {"text": "2026-01", "sha256": None, "purposes": ["face_payment"]}
    code, erased, said = enrol.run("erase", str(first["payer_id"]), "--operator", "ann")
    assert code == 0, said
    names = [place["name"] for place in erased["places"]]  # type: ignore[attr-defined]
    assert names == ["data key", "hot tier", "topic payers", "topic gallery"]
    assert all(place["gone"] for place in erased["places"])  # type: ignore[attr-defined]
    assert [noted.entry.what for noted in read_chain(kafka, str(first["payer_id"]))][-1] == "erased"


@pytest.mark.slow
def test_what_enrolling_needs(enrol: Command, people: list[list[Path]], tmp_path: Path) -> None:
    """No keyring, a PIN that others can read, no Kafka, a payer that is no id: one sentence each and its exit code."""
    picture = people[0][0]
    code, _, said = enrol.run("enrol", picture)
    assert (code, "nobody is enrolled without having agreed" in said) == (2, True)
    pin = tmp_path / "pin"
    pin.write_text("2468")
    pin.chmod(0o644)
    code, _, said = enrol(picture, "--pin-file", pin)
    assert (code, "lets other users read it" in said) == (2, True)
    code, _, said = enrol(picture, "--payer", "somebody")
    assert (code, "is no payer id" in said) == (2, True)
    enrol.env["FACEPAY_KEYS__DIRECTORY"] = str(tmp_path / "none")
    code, _, said = enrol(picture)
    assert (code, "no such folder" in said) == (2, True)
    enrol.env["FACEPAY_KEYS__DIRECTORY"] = str(tmp_path / "keys")
    enrol.env["FACEPAY_KAFKA__BOOTSTRAP"] = "127.0.0.1:1"
    code, _, said = enrol(picture)
    assert code == 3, said
    assert said.count("facepay:") == 1
