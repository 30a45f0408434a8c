"""What the documentation says is tried: its snippets run, its links lead somewhere, its site builds.

A fenced block of bash or Python runs when the line before it is `<!-- runs -->`, from the repository's root and with an
empty home. A block after `<!-- prints -->` is what the snippet before it must print.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
FENCE = re.compile(
    r"^(?P<mark><!-- (?:runs|prints) -->)?\n(?P<indent> *)```(?P<language>\w*)[^\n]*\n(?P<body>.*?)^(?P=indent)```",
    flags=re.MULTILINE | re.DOTALL,
)
SECONDS = 60


@dataclass(frozen=True)
class Snippet:
    """A block that runs, and what it must print, where the page says so."""

    language: str
    body: str
    prints: str | None


def snippets(page: str) -> list[Snippet]:
    """The marked blocks of a page, each with the output that follows it."""
    found: list[Snippet] = []
    for fence in FENCE.finditer(page):
        body = textwrap.dedent(fence["body"])
        if fence["mark"] == "<!-- runs -->":
            found.append(Snippet(fence["language"], body, None))
        elif fence["mark"] == "<!-- prints -->":
            if not found or found[-1].prints is not None:
                raise ValueError("a block that is printed follows no block that runs")
            found[-1] = Snippet(found[-1].language, found[-1].body, body)
    return found


def run(snippet: Snippet, home: Path) -> subprocess.CompletedProcess[str]:
    """Run a snippet as a newcomer would: at the root, with an empty home."""
    commands = {
        "bash": ["bash", "-euo", "pipefail", "-c", snippet.body],
        "python": [sys.executable, "-W", "error", "-c", snippet.body],
    }
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", "TERM": "dumb"}
    command = commands[snippet.language]
    return subprocess.run(
        command,
        cwd=ROOT,
        env=env,
        text=True,
        capture_output=True,
        check=False,
        timeout=SECONDS,
        stdin=subprocess.DEVNULL,
    )


MARKED = [
    pytest.param(snippet, id=f"{page.relative_to(ROOT)}-{number}")
    for page in PAGES
    for number, snippet in enumerate(snippets(page.read_text()), start=1)
]


@pytest.mark.parametrize("snippet", MARKED)
def test_a_marked_snippet_runs(snippet: Snippet, tmp_path: Path) -> None:
    """A reader who pastes it sees it work, and sees what the page promises."""
    done = run(snippet, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    if snippet.prints is not None:
        assert done.stdout.strip() == snippet.prints.strip()


def test_every_mark_is_heard() -> None:
    """A mark that stands before no block (a misspelt fence, a blank line) would silently run nothing."""
    for page in PAGES:
        text = page.read_text()
        marks = len(re.findall(r"^<!-- (?:runs|prints) -->$", text, flags=re.MULTILINE))
        heard = sum(1 + (snippet.prints is not None) for snippet in snippets(text))
        assert marks == heard, f"{page.relative_to(ROOT)}: {marks} marks, {heard} blocks"
    assert MARKED, "no page has a snippet that runs"


def test_snippets_are_found_with_their_output(tmp_path: Path) -> None:
    """The reader of pages finds marked blocks only, pairs output with its block, and a broken one is seen."""
    page = "\n".join(
        [
            *("```bash", "exit 1", "```", ""),
            *("<!-- runs -->", "```bash", "echo one", "```", "", "<!-- prints -->", "```text", "one", "```"),
            *("<!-- runs -->", "```python", "raise SystemExit(3)", "```"),
        ]
    )
    echo, fails = snippets(page)
    assert echo == Snippet("bash", "echo one\n", "one\n")
    assert run(echo, tmp_path).stdout == "one\n"
    assert run(fails, tmp_path).returncode == 3
    with pytest.raises(ValueError, match="follows no block"):
        snippets("<!-- prints -->\n```text\none\n```\n")


LINK = re.compile(r"\]\((?!https?://|mailto:|#)([^)#\s]+)")


@pytest.mark.parametrize("page", sorted(ROOT.glob("*.md")), ids=lambda page: page.name)
def test_links_of_the_root_lead_somewhere(page: Path) -> None:
    """The pages at the root, which the site's own check does not see, link to files that exist."""
    missing = [target for target in LINK.findall(page.read_text()) if not (ROOT / target).exists()]
    assert not missing


def test_yaml_examples_are_yaml() -> None:
    """A block of YAML on a page can be read."""
    for page in PAGES:
        for fence in FENCE.finditer(page.read_text()):
            if fence["language"] in {"yaml", "yml"}:
                yaml.safe_load(textwrap.dedent(fence["body"]))


def test_the_site_builds_strictly_and_asks_nobody(tmp_path: Path) -> None:
    """Each link and anchor is right, and a reader's browser fetches nothing from elsewhere."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=env, text=True, capture_output=True, check=False, timeout=SECONDS)
    assert built.returncode == 0, built.stdout + built.stderr
    for page in (tmp_path / "site").rglob("*.html"):
        fetched = re.findall(
            r"<(?:script|img|link|iframe)[^>]*\s(?:src|href)=[\"']?https?://[^\"'\s>]+", page.read_text()
        )
        assert not fetched, f"{page.name}: {fetched}"


def test_every_test_named_in_the_guarantees_exists(root: Path) -> None:
    """A guarantee whose test was renamed or removed is a claim without proof."""
    named = re.findall(r"`(tests/[\w/.]+\.py)(?:::(\w+))?`", (root / "docs" / "guarantees.md").read_text("utf-8"))
    assert len(named) > 20
    for file, test in named:
        code = (root / file).read_text("utf-8")
        assert not test or f"def {test}(" in code, f"{file} has no {test}"
