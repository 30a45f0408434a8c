"""`facepay version`: the versions that decide how this build behaves."""

from __future__ import annotations

import platform
from importlib import metadata

from pipeline.cli import console
from pipeline.cli.console import JsonFlag

WATCHED = (
    "confluent-kafka",
    "faust-streaming",
    "aiokafka",
    "onnxruntime",
    "onnxruntime-gpu",
    "redis",
    "msgspec",
    "orjson",
)


def version(json: JsonFlag = False) -> None:
    """Print versions, model contracts and build."""
    from pipeline.vision.models import manifest

    installed = {d.name: d.version for d in metadata.distributions() if d.name in WATCHED}
    known = [{"name": c.name, "role": c.role, "sha256": c.sha256} for c in manifest()]
    result = {
        "facepay": metadata.version("facepay"),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "packages": dict(sorted(installed.items())),
        "model_contracts": known,
    }

    def show() -> None:
        console.out.print(
            f"facepay {result['facepay']}, Python {result['python']}, {result['platform']}", highlight=False
        )
        for name, number in sorted(installed.items()):
            console.out.print(f"  {name} {number}", highlight=False)
        for contract in known:
            console.out.print(
                f"  {contract['role']:<10} {contract['name']}  {contract['sha256'][:12]}", highlight=False
            )

    console.finish(result, as_json=json, show=show)
