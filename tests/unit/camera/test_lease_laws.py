"""Laws of a lease: a picture goes out only between the intent's opening and the earlier of its end and the lease's."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.camera.lease import Lease, LeaseWatch
from pipeline.errors import OutsideError, UsageError
from schemas.events import PaymentTerms
from schemas.ids import derived_id

TERMS = PaymentTerms(
    intent_id=derived_id("an intent"),
    terminal_id="t-1",
    merchant_id="shop",
    payee_id="payee-1",
    amount_minor=100,
    currency="CNY",
    opened_at_us=0,
    expires_at_us=0,
    key_epoch=1,
)
TRACE = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"
times = st.integers(0, 1_000)


def lease(opened: int, until: int, expires: int) -> Lease:
    """A lease with these times."""
    return Lease(terms=replace(TERMS, opened_at_us=opened, expires_at_us=expires), trace=TRACE, camera_until_us=until)


@given(times, times, times, times)
def test_a_lease_holds_within_its_times_only(opened: int, until: int, expires: int, at: int) -> None:
    """It holds at a moment exactly when that lies in [opened, min(until, expires)], whatever order they are in."""
    held = lease(opened, until, expires)
    assert held.holds(at) is (at in range(opened, min(until, expires) + 1))
    if held.holds(at):
        assert held.holds(opened)
        assert not held.holds(min(until, expires) + 1)


answers = st.one_of(st.none(), st.builds(lease, times, times, times), st.just("down"), st.just("refused"))


class Told:
    """A gateway that gives these answers one after the other, then none."""

    def __init__(self, script: list[Lease | str | None], stop: threading.Event) -> None:
        self.script = list(script)
        self.stop = stop

    def poll(self, wait_ms: int) -> Lease | None:
        """The next answer."""
        assert wait_ms >= 0
        if not self.script:
            self.stop.set()
            raise OutsideError("the script is at its end")
        answer = self.script.pop(0)
        if answer == "down":
            raise OutsideError("the gateway is down")
        if answer == "refused":
            raise UsageError("the gateway refuses the camera")
        assert not isinstance(answer, str)
        return answer


class Hasty(LeaseWatch):
    """A watch that does not rest between questions."""

    _AGAIN_S = 0.0
    _RETRY_S = 0.0


@given(st.lists(answers, max_size=6), st.lists(times, min_size=1, max_size=4))
def test_a_watch_gives_nothing_beyond_what_was_granted(script: list[Lease | str | None], moments: list[int]) -> None:
    """After any answers, outages and refusals a picture of any moment goes out only under the last lease that was
    granted, within that lease's times: never after "nothing is open", never after a refusal."""
    stop = threading.Event()
    watch = Hasty(Told(script, stop), lambda: 0, stop)
    watch._follow()
    counted = script[: script.index("refused") + 1] if "refused" in script else script
    last = next((answer for answer in reversed(counted) if answer != "down"), None)
    for at in moments:
        if last == "refused":
            with pytest.raises(UsageError):
                watch.at(at)
            continue
        found = watch.at(at)
        if isinstance(last, Lease) and last.holds(at):
            assert found == last
        else:
            assert found is None
