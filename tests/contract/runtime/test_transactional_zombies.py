"""An instance that was stopped and wakes up after another took its lanes: it must end or yield, and double nothing.

SQLite's file lock would not let two instances in; these leave it away, as on a database that many may use, so that what
is tested is the ledger's owner epoch and Kafka's fencing.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from confluent_kafka.admin import AdminClient

from pipeline.local.process import Supervised
from pipeline.runtime.reader import UNEXPECTED
from tests.contract.runtime.shop import Shop, said
from tests.stack import wait_until

QUICK = {"without_file_lock": True, "session_timeout_ms": 1_500}


def asleep(shop: Shop, border: str) -> Supervised:
    """Instance `a`, stopped by itself at `border`."""
    shop.pay(20)
    zombie = shop.worker(instance="a", border=border, act="stop", **QUICK)
    wait_until(lambda: said(zombie, "sabotage"), 30, f"instance a asleep at {border}")
    return zombie


def test_a_zombie_that_still_holds_records_is_fenced_by_the_owner_epoch(shop: Shop) -> None:
    """It wakes with records in hand that its heir has not even applied: its epoch is over, and the ledger says no."""
    zombie = asleep(shop, "apply:before")
    heir = shop.worker(instance="b", border="apply:before", act="stop", **QUICK)
    wait_until(lambda: said(heir, "sabotage"), 30, "instance b owns the lanes and is stopped as well")
    zombie.resume()
    assert zombie.wait(30) == UNEXPECTED
    (last,) = said(zombie, "unexpected")
    assert "owner epoch 1: the lane has epoch 2" in last["why"]
    heir.resume()
    shop.wait_until_said()
    assert heir.stop() == 0
    shop.check_exactly_once()


@pytest.mark.slow
def test_a_zombie_inside_a_transaction_cannot_commit_it(shop: Shop) -> None:
    """It wakes before it has given Kafka its offsets: its generation is over, the transaction is aborted."""
    zombie = asleep(shop, "offsets:before")
    heir = shop.worker(instance="b", **QUICK)
    wait_until(lambda: said(heir, "assigned"), 30, "instance b owns the lanes")
    zombie.resume()
    shop.wait_until_said()
    shop.check_exactly_once()


@pytest.mark.slow
def test_an_heir_waits_for_the_end_of_a_transaction_that_may_still_commit(shop: Shop) -> None:
    """It wakes with its offsets given and only the commit to do: its heir has waited, and goes on from what it said."""
    zombie = asleep(shop, "commit:before")
    heir = shop.worker(instance="b", **QUICK)
    wait_until(member_of(shop, "b"), 30, "instance b is the member")
    assert not heir.wait_until(lambda: bool(said(heir, "assigned")), 2.0), "the heir did not wait"
    zombie.resume()
    wait_until(lambda: said(heir, "assigned"), 30, "instance b owns the lanes")
    shop.wait_until_said()
    shop.check_exactly_once()


@pytest.mark.slow
def test_of_two_with_the_same_name_the_older_ends(shop: Shop) -> None:
    """A pod that was thought dead comes back beside its successor of the same name: Kafka fences it."""
    zombie = asleep(shop, "commit:before")
    heir = shop.worker(instance="a", **QUICK)
    shop.wait_until_said()
    zombie.resume()
    assert zombie.wait(30) == UNEXPECTED
    assert heir.alive
    shop.pay(5)
    shop.wait_until_said()
    shop.check_exactly_once()


def member_of(shop: Shop, instance: str) -> Callable[[], bool]:
    """Whether the group is stable and `instance` alone in it."""
    client = AdminClient({"bootstrap.servers": shop.plan.bootstrap})

    def look() -> bool:
        futures = client.describe_consumer_groups([shop.plan.group])
        group = futures[shop.plan.group].result(10)
        names = [member.group_instance_id for member in group.members]
        return group.state.name == "STABLE" and names == [f"{shop.plan.group}-{instance}"]

    return look
