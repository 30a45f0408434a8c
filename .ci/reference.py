"""Writes the reference pages of the documentation from the code: settings, topics and metrics.

    python .ci/reference.py          writes docs/reference/*.md (`make docs` does)
    python .ci/reference.py --check  says which pages are not what the code says, and exits 1

The pages are kept in the repository, so that they can be read there and a change of a default is seen in review.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from prometheus_client.metrics import MetricWrapperBase
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pipeline import metrics
from pipeline.settings import Settings
from pipeline.topics import topics

ROOT = Path(__file__).resolve().parent.parent
UNITS_MS = {"d": 86_400_000, "h": 3_600_000, "min": 60_000, "s": 1_000}


def row(*cells: object) -> str:
    """One line of a Markdown table; a bar inside a cell must not end it."""
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def table(*head: str) -> list[str]:
    """The head of a Markdown table."""
    return [row(*head), row(*("---" for _ in head))]


def type_name(field: FieldInfo) -> str:
    """A field's type as a person would say it."""
    kind = field.annotation
    name = kind.__name__ if isinstance(kind, type) and not hasattr(kind, "__args__") else str(kind)
    return name.replace("typing.", "").replace("Literal", "one of ").replace("str | None", "str, or none")


def branches() -> Iterator[tuple[str, type[BaseModel]]]:
    """The sections of the settings tree, by name."""
    for name, field in Settings.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield name, field.annotation


def settings_page() -> str:
    """Every setting, its environment variable, default and meaning."""
    lines = [
        "# Settings",
        "",
        "Every setting is an environment variable, or a key of the TOML file given by `--config`; the environment",
        "wins. `facepay settings` prints what is in force. A name that is not here is refused.",
    ]
    for name, section in branches():
        doc = (section.__doc__ or "").strip()
        lines += ["", f"## `[{name}]`", "", doc, "", *table("variable", "type", "default", "meaning")]
        for key, field in section.model_fields.items():
            default = field.get_default(call_default_factory=False)
            lines.append(
                row(
                    f"`FACEPAY_{name.upper()}__{key.upper()}`",
                    type_name(field),
                    "required" if field.is_required() else f"`{default}`",
                    field.description or "",
                )
            )
    return "\n".join(lines) + "\n"


def span(config: dict[str, str]) -> str:
    """How long a topic keeps a record."""
    if config.get("cleanup.policy") == "compact":
        return "newest of each key"
    kept_ms = int(config.get("retention.ms", "-1"))
    for unit, size_ms in UNITS_MS.items():
        if kept_ms >= size_ms and kept_ms % size_ms == 0:
            return f"{kept_ms // size_ms} {unit}"
    return "for ever" if kept_ms < 0 else f"{kept_ms} ms"


def topics_page() -> str:
    """Every topic: key, partitions, what it keeps, who writes and who reads."""
    lines = [
        "# Topics",
        "",
        "Declared in `schemas/topics/*.toml`, the single source for creation (`facepay topics apply`), drift checks,",
        "access rules and this page. Only the producers named here may write to a topic. A *lane* topic is keyed by",
        "terminal, with one partition count and one partitioner for all of them.",
        "",
        *table("topic", "key", "partitions", "lane", "keeps", "values", "from", "to"),
    ]
    lines += [
        row(
            f"`{topic.name}`",
            topic.key,
            topic.partitions,
            "yes" if topic.lane else "no",
            span(dict(topic.config)),
            ", ".join(topic.values) or topic.content_type,
            ", ".join(topic.producers),
            ", ".join(topic.consumers),
        )
        for topic in topics().values()
    ]
    lines += ["", *(f"- `{topic.name}`: {topic.description}" for topic in topics().values())]
    return "\n".join(lines) + "\n"


def declared_metrics() -> list[MetricWrapperBase]:
    """The metrics of `pipeline.metrics`, in the order in which that module lists them."""
    return [value for value in vars(metrics).values() if isinstance(value, MetricWrapperBase)]


def exposed_name(metric: MetricWrapperBase) -> str:
    """The name under which a metric is collected: the client library takes `_total` off a counter and adds it back."""
    name: str = metric._name  # noqa: SLF001 - it has no public name
    return name + ("_total" if metric._type == "counter" else "")  # noqa: SLF001 - it has no public name


def metrics_page() -> str:
    """Every metric, its kind and labels."""
    lines = [
        "# Metrics",
        "",
        "Each process serves them at `/metrics`. Base units; no payer, face or terminal is ever a label.",
        "",
        *table("metric", "kind", "labels", "meaning"),
    ]
    for metric in declared_metrics():
        labels = ", ".join(metric._labelnames) or "-"  # noqa: SLF001 - it has no public name
        lines.append(row(f"`{exposed_name(metric)}`", metric._type, labels, metric._documentation))  # noqa: SLF001 - as above
    return "\n".join(lines) + "\n"


def pages() -> dict[Path, str]:
    """Every reference page, by its place."""
    folder = ROOT / "docs" / "reference"
    return {
        folder / "metrics.md": metrics_page(),
        folder / "settings.md": settings_page(),
        folder / "topics.md": topics_page(),
    }


def stale() -> list[str]:
    """The pages that are not what the code says."""
    wanted = pages()
    return [
        str(page.relative_to(ROOT)) for page, text in wanted.items() if not page.exists() or page.read_text() != text
    ]


def main() -> int:
    """Write the pages, or with `--check` say which are stale."""
    if "--check" in sys.argv[1:]:
        old = stale()
        if old:
            print(f"not what the code says: {', '.join(old)}; run `make docs`.", file=sys.stderr)
        return 1 if old else 0
    for page, text in pages().items():
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
