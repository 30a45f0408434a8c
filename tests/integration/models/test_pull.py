"""`facepay models pull` against a server on the loopback interface that lies, cuts off and answers no."""

from __future__ import annotations

import hashlib
import importlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from pipeline.cli import models as command
from pipeline.errors import OutsideError, UsageError
from pipeline.local import weights
from pipeline.local.weights import pull
from pipeline.vision import models
from pipeline.vision.models import ModelSpec, manifest

CONTENT = bytes(range(256)) * 1000

app = typer.Typer()
app.add_typer(command.app, name="models")


@dataclass
class Server:
    """Answers in turn what `answers` holds for a path: bytes, a status, or bytes that end before their length."""

    address: str = ""
    answers: dict[str, list[bytes | int | tuple[bytes, int]]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Server]:
    """On a port that was free; the last answer of a path is repeated."""
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked.append(self.path)
            answers = state.answers.get(self.path, [404])
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
            if isinstance(answer, int):
                self.send_error(answer)
                return
            content, length = answer if isinstance(answer, tuple) else (answer, len(answer))
            self.send_response(200)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name that the base class gave it
            """Says nothing."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    state.address = f"http://127.0.0.1:{http.server_port}"
    yield state
    http.shutdown()
    thread.join()
    http.server_close()


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts follow each other at once."""
    monkeypatch.setattr(weights, "_PAUSE_S", 0.0)


def spec(name: str, content: bytes = CONTENT, url: str = "") -> ModelSpec:
    """A model of these bytes."""
    digest = hashlib.sha256(content).hexdigest()
    first = next(s for s in manifest() if s.role == "detector")
    return replace(first, name=name, file=f"{name}.onnx", sha256=digest, bytes=len(content), url=url)


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes these models the manifest."""
    # Whoever takes the function by name does so before it is replaced, not for good while it is.
    importlib.import_module("pipeline.vision.engine")
    importlib.import_module("pipeline.vision.verification")

    def use(*specs: ModelSpec) -> None:
        monkeypatch.setattr(models, "manifest", lambda: specs)

    return use


Known = Callable[..., None]


def quiet(_: str) -> None:
    """Progress that nobody reads."""


def contents(folder: Path) -> dict[str, bytes]:
    """Every file but the lock."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".pull.lock"}


def test_a_file_comes_from_its_address_and_is_not_fetched_twice(server: Server, known: Known, tmp_path: Path) -> None:
    """Under the manifest's name; the second time nothing is asked for."""
    one = spec("one", url=f"{server.address}/at/one")
    known(one)
    server.answers["/at/one"] = [CONTENT]
    lines: list[str] = []
    assert [p.state for p in pull([one], tmp_path / "new", None, lines.append)] == ["fetched"]
    assert contents(tmp_path / "new") == {"one.onnx": CONTENT}
    assert any("Downloading models: 1 files, 0.3 MB" in line for line in lines)
    assert any("100 %" in line for line in lines)
    assert [p.state for p in pull([one], tmp_path / "new", None, quiet)] == ["present"]
    assert server.asked == ["/at/one"]


@pytest.mark.parametrize(
    ("answers", "state", "asked", "sentence"),
    [
        ([CONTENT[:-1] + b"!"], "failed", 1, "another SHA-256"),
        ([CONTENT + b"!"], "failed", 1, "another SHA-256"),
        ([404], "failed", 1, "answered 404"),
        ([(CONTENT[:1000], len(CONTENT))], "failed", 3, "cut off 3 times"),
        ([CONTENT[:1000]], "failed", 3, "cut off 3 times"),
        ([503], "failed", 3, "cut off 3 times"),
        ([(CONTENT[:1000], len(CONTENT)), 503, CONTENT], "fetched", 3, "verified"),
    ],
    ids=["wrong bytes", "too long", "404", "cut connection", "too short", "503", "third attempt"],
)
def test_what_can_go_wrong(
    server: Server, known: Known, tmp_path: Path, answers: list[Any], state: str, asked: int, sentence: str
) -> None:
    """One sentence each, nothing but whole and right files in the folder, and another try where it can help."""
    one = spec("one", url=f"{server.address}/one")
    known(one)
    server.answers["/one"] = list(answers)
    result = pull([one], tmp_path, None, quiet)[0]
    assert (result.state, len(server.asked)) == (state, asked)
    assert sentence in result.found
    assert contents(tmp_path) == ({"one.onnx": CONTENT} if state == "fetched" else {})


def test_a_failure_keeps_no_other_model_from_being_fetched(server: Server, known: Known, tmp_path: Path) -> None:
    """What has arrived is kept: the next try asks for the missing one only."""
    bad, good = spec("bad", b"bad", f"{server.address}/bad"), spec("good", b"good", f"{server.address}/good")
    known(bad, good)
    server.answers |= {"/bad": [500, 500, 500, b"bad"], "/good": [b"good"]}
    assert [p.state for p in pull([bad, good], tmp_path, None, quiet)] == ["failed", "fetched"]
    assert [p.state for p in pull([bad, good], tmp_path, None, quiet)] == ["fetched", "present"]
    assert server.asked.count("/good") == 1


def test_another_file_under_the_name_and_remains_of_a_killed_download_are_replaced(
    server: Server, known: Known, tmp_path: Path
) -> None:
    """The wrong file stays until the right one has arrived, and it is said."""
    one = spec("one", url=f"{server.address}/one")
    known(one)
    (tmp_path / "one.onnx").write_bytes(b"something else")
    (tmp_path / ".one.onnx.4711.part").write_bytes(b"half")
    server.answers["/one"] = [404, CONTENT]
    lines: list[str] = []
    assert pull([one], tmp_path, None, lines.append)[0].state == "failed"
    assert contents(tmp_path) == {"one.onnx": b"something else"}
    assert pull([one], tmp_path, None, lines.append)[0].state == "fetched"
    assert contents(tmp_path) == {"one.onnx": CONTENT}
    assert any("one.onnx is not the file that the manifest names" in line for line in lines)


def test_from_a_mirror_and_from_a_folder(server: Server, known: Known, tmp_path: Path) -> None:
    """A prefix takes the manifest's file names; in a folder the hash finds the file, whatever its name."""
    one = spec("one", url="http://192.0.2.1/never-asked")
    known(one)
    server.answers["/mirror/one.onnx"] = [CONTENT]
    assert pull([one], tmp_path / "a", f"{server.address}/mirror/", quiet)[0].ok
    (tmp_path / "a" / "one.onnx").rename(tmp_path / "a" / "other name.onnx")
    assert pull([one], tmp_path / "b", str(tmp_path / "a"), quiet)[0].ok
    assert contents(tmp_path / "b") == {"one.onnx": CONTENT}
    lacking = spec("lacking", b"lacking")
    result = pull([lacking], tmp_path / "b", str(tmp_path / "a"), quiet)[0]
    assert result.state == "failed"
    assert f"no file there has its SHA-256 {lacking.sha256}" in result.found


def test_what_nobody_publishes_is_said(known: Known, tmp_path: Path) -> None:
    """With its source and what to do."""
    converted = spec("converted")
    known(converted)
    result = pull([converted], tmp_path, None, quiet)[0]
    assert result.state == "unpublished"
    assert converted.source in result.found
    assert "--from" in result.found


def test_sources_and_folders_that_are_none(known: Known, tmp_path: Path) -> None:
    """Wrong use, and a failed outside."""
    known(spec("one"))
    with pytest.raises(UsageError, match="neither a folder nor an http"):
        pull([spec("one")], tmp_path, str(tmp_path / "absent"), quiet)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutsideError, match="making the models folder"):
        pull([spec("one")], tmp_path / "file", None, quiet)


def run(*arguments: str | Path) -> Result:
    """The command, in this process."""
    return CliRunner().invoke(app, ["models", "pull", *(str(argument) for argument in arguments)])


def test_the_command_says_yes_no_or_that_the_outside_failed(server: Server, known: Known, tmp_path: Path) -> None:
    """Exit 0 when all are there, 1 when nobody publishes one, 3 when a download failed, and each model's row."""
    one, converted = spec("one", url=f"{server.address}/one"), spec("converted", b"converted")
    known(one, converted)
    server.answers["/one"] = [404, CONTENT]
    for names, code, oks in ((["one"], 3, [False]), (["one"], 0, [True]), ([], 1, [True, False])):
        result = run(*names, "--models", tmp_path, "--json")
        rows = json.loads(result.stdout.splitlines()[-1])["models"]
        assert (result.exit_code, [row["ok"] for row in rows]) == (code, oks)
        assert all({"name", "sha256", "licence", "ok", "training_terms", "drawn"} <= set(row) for row in rows)
    assert "one.onnx" in contents(tmp_path)
    assert isinstance(run("nonsense", "--models", tmp_path).exception, UsageError)


def test_models_for_drawn_people_are_pulled_by_name_only(server: Server, known: Known, tmp_path: Path) -> None:
    """Without names, a folder gets what real people need."""
    drawn = replace(spec("drawn", b"drawn", f"{server.address}/drawn"), drawn=True)
    one = spec("one", url=f"{server.address}/one")
    known(one, drawn)
    server.answers |= {"/one": [CONTENT], "/drawn": [b"drawn"]}
    assert run("--models", tmp_path).exit_code == 0
    assert set(contents(tmp_path)) == {"one.onnx"}
    assert run("drawn", "--models", tmp_path).exit_code == 0
    assert set(contents(tmp_path)) == {"one.onnx", "drawn.onnx"}
