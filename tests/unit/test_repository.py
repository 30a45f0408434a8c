"""The repository's own lint: what a reader may count on in every tracked file.

Each rule is a function from a file's name and text to the complaints about it, so that the rules themselves are tested:
a row of `BROKEN` is a file that must be complained about.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

PACKAGES = ("agents", "loadtests", "pipeline", "schemas")
PURE = ("pipeline/domain/", "schemas/")
LONGEST = 400
EMPTY_NAMES = {"utils", "util", "helpers", "helper", "manager", "managers", "common", "misc"}

# Each pattern is spelled so that it does not find itself.
FORBIDDEN_TEXT = {
    "a path of one machine": re.compile(r"(?<![\w.~$}/])/(?:work|root|home/\w+)(?=[/\s\"'`)]|$)"),
    "a registry's address": re.compile(
        r"pypi[.]org|pythonhosted[.]org|repo1[.]maven|maven[.]apache[.]org|npmjs[.]org|crates[.]io|proxy[.]golang[.]org"
        r"|deb[.]debian[.]org|--index[-]url|--find[-]links"
    ),
    "a note to self": re.compile(r"\b(?:TO[D]O|FIX[M]E|XX[X])\b"),
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE[ ]KEY"),
}

Complaints = Iterator[str]
Rule = Callable[[PurePosixPath, str], Complaints]


def has_docstring(path: PurePosixPath, text: str) -> Complaints:
    """A module says what it is for."""
    if path.suffix == ".py" and not ast.get_docstring(ast.parse(text)):
        yield "has no docstring"


def is_short(path: PurePosixPath, text: str) -> Complaints:
    """A file has one reason to exist, and fits a head."""
    lines = text.count("\n")
    if path.suffix in {".py", ".toml", ".yml", ".yaml", ".sh"} and lines > LONGEST:
        yield f"has {lines} lines, more than {LONGEST}"


def has_a_telling_name(path: PurePosixPath, text: str) -> Complaints:
    """A newcomer finds the answer by the name of the folder and the file."""
    del text
    parts = {part.removeprefix("test_") for part in (*path.parent.parts, path.stem)}
    words = {word for part in parts for word in part.split("_")} if path.suffix == ".py" else parts
    for name in sorted(words & EMPTY_NAMES):
        yield f"is named {name!r}, which says nothing"


def names_no_outside(path: PurePosixPath, text: str) -> Complaints:
    """Nothing ties the text to one machine, a registry, a plan or a secret."""
    del path
    for number, line in enumerate(text.splitlines(), start=1):
        for what, pattern in FORBIDDEN_TEXT.items():
            if pattern.search(line):
                yield f"line {number} has {what}"


def is_pure(path: PurePosixPath, text: str) -> Complaints:
    """Rules read no clock, draw no randomness and open no file; import-linter forbids the modules, this the calls."""
    if path.suffix != ".py" or not str(path).startswith(PURE):
        return
    impure = {"now", "utcnow", "today", "uuid1", "uuid4", "uuid6", "uuid7", "urandom", "open", "print", "input"}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in impure:
                yield f"line {node.lineno} calls {name}"
        if isinstance(node, ast.Attribute) and node.attr == "random":
            yield f"line {node.lineno} draws randomness"


def draws_secrets_well(path: PurePosixPath, text: str) -> Complaints:
    """Keys, nonces and PIN salts come from `secrets` or the operating system, never from a seeded generator."""
    if path.suffix != ".py" or not str(path).startswith("pipeline/keys/"):
        return
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            if name in {"random", "numpy.random"}:
                yield f"line {node.lineno} imports {name}"


RULES: tuple[Rule, ...] = (has_docstring, is_short, has_a_telling_name, names_no_outside, is_pure, draws_secrets_well)

BROKEN: tuple[tuple[Rule, str, str], ...] = (
    (has_docstring, "pipeline/x.py", "import os\n"),
    (is_short, "pipeline/x.py", "\n" * (LONGEST + 1)),
    (has_a_telling_name, "pipeline/utils/x.py", ""),
    (has_a_telling_name, "pipeline/lane_manager.py", ""),
    (has_a_telling_name, "tests/unit/test_helpers.py", ""),
    (names_no_outside, "docs/x.md", "see /wo" + "rk/main"),
    (names_no_outside, "docs/x.md", '"/ro' + 'ot"'),
    (names_no_outside, "Makefile", "pip install --index" + "-url x"),
    (names_no_outside, "requirements/x.txt", "https://files.python" + "hosted.org/x"),
    (names_no_outside, "pipeline/x.py", "# TO" + "DO later"),
    (names_no_outside, "infra/x.yml", "-----BEGIN PRIV" + "ATE KEY-----"),
    (is_pure, "pipeline/domain/x.py", "from datetime import datetime\nat = datetime.now()\n"),
    (is_pure, "schemas/x.py", "import uuid\nfirst = uuid.uuid4()\n"),
    (is_pure, "schemas/x.py", "import numpy as np\nnp.random.default_rng(1)\n"),
    (draws_secrets_well, "pipeline/keys/x.py", "import random\n"),
    (draws_secrets_well, "pipeline/keys/x.py", "from numpy import random\n"),
)


def tracked(root: Path) -> list[Path]:
    """Files that are, or are about to be, part of the repository."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        check=True,
        capture_output=True,
    )
    files = [root / name.decode() for name in listed.stdout.split(b"\0") if name]
    return [file for file in files if file.is_file() and not file.is_symlink()]


def text_of(file: Path) -> str | None:
    """The file as text, or None where it is a picture, a model or other bytes."""
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None


@pytest.fixture(scope="module")
def project(root: Path) -> dict[str, Any]:
    """pyproject.toml, parsed."""
    return tomllib.loads((root / "pyproject.toml").read_text())


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_file_keeps_the_rule(rule: Rule, root: Path) -> None:
    """No tracked file gives this rule a reason to complain."""
    complaints = []
    for file in tracked(root):
        text = text_of(file)
        if text is not None:
            name = PurePosixPath(file.relative_to(root).as_posix())
            complaints += [f"{name} {complaint}" for complaint in rule(name, text)]
    assert not complaints, "\n".join(complaints)


@pytest.mark.parametrize(("rule", "name", "text"), BROKEN)
def test_each_rule_finds_what_it_forbids(rule: Rule, name: str, text: str) -> None:
    """A rule that finds nothing in a file made to break it would be no rule."""
    assert list(rule(PurePosixPath(name), text))


def test_each_rule_is_broken_by_a_row() -> None:
    """No rule goes untested."""
    assert {rule for rule, _, _ in BROKEN} == set(RULES)


def name_of(requirement: str) -> str:
    """The bare name at the start of a requirement."""
    return re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0].lower()


def declared(project: dict[str, Any]) -> dict[str, set[str]]:
    """Every direct dependency by where it is declared: the program, an extra, or a group of the developers."""
    main = project["project"]
    extras, groups = main["optional-dependencies"], project["dependency-groups"]
    lists = {"program": main["dependencies"], **extras, **groups}
    found: dict[str, set[str]] = {}
    for where, names in lists.items():
        if names:
            found[where] = {name_of(name) for name in names}
    found["build"] = {"uv", "hatchling", "editables"}
    return found


def test_each_dependency_has_its_reason(root: Path, project: dict[str, Any]) -> None:
    """docs/dependencies.md lists, under the same headings, exactly what pyproject.toml declares, each with a reason."""
    listed: dict[str, set[str]] = {}
    where = ""
    for line in (root / "docs" / "dependencies.md").read_text().splitlines():
        if heading := re.match(r"## .*`(\w+)`", line):
            where = heading[1]
        elif row := re.match(r"\| `([\w.-]+)` \| (.*?) *\|$", line):
            assert len(row[2].split()) >= 4, f"{row[1]} has no reason that says anything"
            assert row[1] not in listed.setdefault(where, set()), f"{row[1]} is listed twice"
            listed[where].add(row[1])
    assert listed == declared(project)


@pytest.mark.parametrize("level", ["build", "run", "gpu", "dev", "train"])
def test_requirements_are_pinned_by_hash(level: str, root: Path) -> None:
    """Each installed file is named by version and hash, so that every clone runs the same bytes."""
    text = (root / "requirements" / f"{level}.txt").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    assert lines
    loose = [line[:60] for line in lines if not re.match(r"[\w.-]+==\S+ .*--hash=sha256:[0-9a-f]{64}", line)]
    assert not loose


@pytest.mark.parametrize(
    ("level", "extras"),
    [
        ("run", ["cpu", "local", "postgres"]),
        ("gpu", ["gpu", "local", "postgres"]),
        ("train", ["cpu", "local", "postgres"]),
    ],
)
def test_requirements_cover_the_project(level: str, extras: list[str], root: Path, project: dict[str, Any]) -> None:
    """The locked files hold every direct dependency, at or above its lower bound: `make lock` was not forgotten."""
    pins = dict(
        re.findall(r"^([\w.-]+)==([\w.]+)", (root / "requirements" / f"{level}.txt").read_text(), flags=re.MULTILINE)
    )
    main = project["project"]
    optional = main["optional-dependencies"]
    for requirement in [*main["dependencies"], *(name for extra in extras for name in optional[extra])]:
        name = name_of(requirement)
        assert name in pins, f"{name} is in no requirements/{level}.txt: run `make lock`"
        bound = re.search(r">=([\d.]+)", requirement)
        assert bound, f"{name} has no lower bound"
        assert numbers(pins[name]) >= numbers(bound[1]), f"{name} is locked below its bound: run `make lock`"


def test_the_training_framework_comes_with_training_only(root: Path, project: dict[str, Any]) -> None:
    """Gigabytes that nobody but `make train` needs are in its own requirements, and in nobody else's."""
    for requirement in project["dependency-groups"]["train"]:
        pin = re.compile(rf"^{re.escape(name_of(requirement))}==", flags=re.MULTILINE)
        levels = ("run", "dev", "gpu", "train")
        holders = [level for level in levels if pin.search((root / "requirements" / f"{level}.txt").read_text())]
        assert holders == ["train"], f"{requirement} is locked for {holders}"


def numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version."""
    return tuple(int(part) for part in re.findall(r"\d+", version))


def test_each_module_stands_on_a_layer(root: Path, project: dict[str, Any]) -> None:
    """import-linter judges only modules it is told of: a new one is given its place, and none is listed in vain."""
    contracts = project["tool"]["importlinter"]
    layers = next(contract["layers"] for contract in contracts["contracts"] if contract["type"] == "layers")
    placed = {name.strip(" ()") for layer in layers for name in layer.split("|")}
    modules = {f"pipeline.{path.stem}" for path in (root / "pipeline").iterdir() if is_module(path)}
    there = modules | {"agents", "loadtests", "schemas"}
    assert there - placed == set(), "modules without a layer"
    assert placed - there == set(), "layers without a module"


def is_module(path: Path) -> bool:
    """Whether a path directly inside a package is a module of it."""
    if path.is_dir():
        return any(path.rglob("*.py"))
    return path.suffix == ".py" and path.stem != "__init__"


def test_the_wheel_holds_the_packages_and_their_data(root: Path, tmp_path: Path) -> None:
    """What is installed elsewhere has every tracked file of the packages (topics, examples, types) and no test."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(command, cwd=root, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    wanted = {file.relative_to(root).as_posix() for file in tracked(root)}
    assert held == {name for name in wanted if name.startswith(tuple(f"{package}/" for package in PACKAGES))}
    for package in PACKAGES:
        assert f"{package}/py.typed" in held, f"{package} hides its types"


def test_ci_runs_what_a_person_runs(root: Path) -> None:
    """CI has no steps of its own, and pytest's closing line comes last."""
    run = root / ".ci" / "run"
    assert run.stat().st_mode & 0o111, ".ci/run is not executable"
    assert run.read_text().rstrip().endswith("make --no-print-directory test")
    recipe = re.search(r"^test:.*\n((?:\t.*\n)+)", (root / "Makefile").read_text(), flags=re.MULTILINE)
    assert recipe
    assert recipe[1].strip().splitlines()[-1].strip() == "$(BIN)/pytest $(ARGS)"
