"""What every test may count on: a clean environment, a fixed order of examples, and what lies beside the checkout.

Real Kafka and Redis come from `tests/stack.py`; fixtures that start agents live in the folder of their tests.
"""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest

pytest_plugins = ["tests.stack"]

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"

# Read by ONNX Runtime when it is imported: it reports to its maker unless told not to.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

# Machines are shared and slow at times: an example's time says nothing. In CI the same examples are drawn in each run,
# so that a red run can be repeated.
hypothesis.settings.register_profile("here", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "here")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what asks for the fixture `shared`, and skip what is so marked where nothing lies beside."""
    absent = pytest.mark.skip(reason="needs ../shared (models and portraits), which is not beside this checkout")
    for item in items:
        if "shared" in getattr(item, "fixturenames", ()):
            item.add_marker("shared")
        if "shared" in item.keywords and not SHARED.is_dir():
            item.add_marker(absent)


@pytest.fixture(autouse=True)
def _no_settings_of_the_person(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test sees no setting that the person who runs it has in the environment."""
    for name in [name for name in os.environ if name.startswith("FACEPAY_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's root."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of models and portraits beside the checkout."""
    return SHARED
