"""`facepay gallery` and `facepay keys rewrap` as a person runs them, against the real Kafka."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner, Result

from pipeline.cli.program import app
from pipeline.gallery.protect.data_keys import open_data_keys
from pipeline.gallery.templates import seal_template
from pipeline.keys.keyring import Keyring
from pipeline.runtime.producer import make_producer
from pipeline.settings import Kafka
from schemas.codec import encode
from schemas.ids import derived_id
from tests.integration.gallery.test_rekey import MODEL, OTHER_MODEL
from tests.stack import create_topics, unique


@pytest.fixture
def keyring(kafka: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Keyring]:
    """An installation with three payers: two of one model, one of both."""
    import numpy as np

    keyring, topic = Keyring.create(tmp_path / "keys"), unique("gallery")
    monkeypatch.setattr("pipeline.topics.GALLERY", topic)
    monkeypatch.setenv("FACEPAY_KAFKA__BOOTSTRAP", kafka)
    monkeypatch.setenv("FACEPAY_KEYS__DIRECTORY", str(keyring.folder))
    create_topics(kafka, {topic: 2}, {"cleanup.policy": "compact"})
    producer, data_keys = make_producer(Kafka(bootstrap=kafka)), open_data_keys(keyring)
    for number, model in ((0, MODEL), (1, MODEL), (2, MODEL), (0, OTHER_MODEL)):
        event = seal_template(
            keyring, data_keys, payer_id=derived_id(str(number)), model_sha256=model, now_us=7,
            vector=np.eye(8, dtype=np.float32)[number + 4 * (model == OTHER_MODEL)],
        )  # fmt: skip
        producer.produce(topic, encode(event), key=event.template_id)
    assert producer.flush(20) == 0
    yield keyring
    data_keys.close()


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments])


def told(result: Result) -> dict[str, object]:
    found: dict[str, object] = orjson.loads(result.stdout.splitlines()[-1])
    return found


def test_from_status_to_a_new_key(keyring: Keyring) -> None:
    """Status counts by model and version; a prepared version makes it exit 1 until the re-key is done; then only the
    new version is left, and the data keys' wrapping can be renewed as well."""
    before = run("gallery", "status", "--json")
    assert before.exit_code == 0, before.output
    found = told(before)
    assert found["models"] == {
        MODEL: {"payers": 3, "payers_without": 0, "templates": {"1": 3}},
        OTHER_MODEL: {"payers": 1, "payers_without": 2, "templates": {"1": 1}},
    }
    assert (found["payers"], found["templates"], found["data_keys"]) == (3, 4, {"1": 3})
    assert found["key_versions"] == {"in_force": 1, "held": [1], "kek": 1}

    assert told(run("gallery", "rekey", "--prepare", "--json"))["waiting"] == 2
    assert run("gallery", "status").exit_code == 1
    done = run("gallery", "rekey", "--settle", "0", "--json")
    assert done.exit_code == 0, done.output
    assert told(done) == {
        "version": 2, "retired": [1], "templates": 4, "rewritten": 4, "buried": {}, "data_keys_destroyed": 3,
    }  # fmt: skip
    after = run("gallery", "status", "--json")
    assert (after.exit_code, told(after)["key_versions"]) == (0, {"in_force": 2, "held": [2], "kek": 1})
    assert told(after)["data_keys"] == {"2": 3}
    assert told(run("keys", "rewrap", "--json"))["rewrapped"] == 3
    assert keyring.versions("kek") == (2,)


def test_a_switch_of_models_that_loses_somebody_is_told(keyring: Keyring) -> None:
    """To a model that not everybody has a template of: exit 1 and who they are; to one that everybody has: exit 0."""
    lost = run("gallery", "status", "--switch-to", OTHER_MODEL, "--json")
    assert lost.exit_code == 1
    assert told(lost)["switch"] == {
        "to": OTHER_MODEL, "kept": 1, "lost": sorted(derived_id(str(n)) for n in (1, 2)),
    }  # fmt: skip
    assert "2 payers have no template of that model" in run("gallery", "status", "--switch-to", OTHER_MODEL).output
    assert run("gallery", "status", "--switch-to", MODEL).exit_code == 0
    assert run("gallery", "status", "--switch-to", "model").exit_code != 0
