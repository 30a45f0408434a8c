"""The ledger and Kafka must belong together: lost offsets are made good, a ledger of elsewhere is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from pipeline.local.process import Supervised
from tests.contract.runtime.shop import LANES, Shop, said
from tests.stack import create_topics, unique, wait_until


def test_offsets_that_kafka_has_forgotten_are_made_good(shop: Shop) -> None:
    """Offset retention or a reset took the group's offsets and the position with them: nothing is said twice."""
    settle_some(shop)
    forget_group(shop)
    shop.pay(10)
    shop.spoil(1)
    worker = shop.worker()
    shop.wait_until_said()
    (recovered,) = said(worker, "outbox_position_recovered")
    assert sum(recovered["newest"].values()) >= 21
    shop.check_exactly_once()


def test_offsets_that_somebody_moved_to_the_end_skip_nothing(shop: Shop) -> None:
    """The database's offsets are the authority: what Kafka's group says is written for others and never read."""
    settle_some(shop)
    shop.pay(20)
    skip_to_the_end(shop)
    shop.worker()
    shop.wait_until_said()
    shop.check_exactly_once()


def settle_some(shop: Shop, **other: object) -> None:
    """An instance comes, settles and goes."""
    shop.pay(20)
    shop.spoil(1)
    worker = shop.worker(session_timeout_ms=1_000, **other)
    shop.wait_until_said()
    assert worker.stop() == 0


def forget_group(shop: Shop) -> None:
    """Deletes the group once its static member has timed out."""
    client = AdminClient({"bootstrap.servers": shop.plan.bootstrap})

    def gone() -> bool:
        try:
            client.delete_consumer_groups([shop.plan.group])[shop.plan.group].result(10)
        except KafkaException:
            return False
        return True

    wait_until(gone, 30, "the group is empty and deleted")


def skip_to_the_end(shop: Shop) -> None:
    """Commits the ends of all inputs for the group, once its static member has timed out."""
    consumer = Consumer({"bootstrap.servers": shop.plan.bootstrap, "group.id": shop.plan.group})
    inputs = [TopicPartition(t, lane) for t in (shop.plan.commands, shop.plan.verdicts) for lane in range(LANES)]
    ends = [TopicPartition(at.topic, at.partition, consumer.get_watermark_offsets(at, 10)[1]) for at in inputs]

    def moved() -> bool:
        try:
            consumer.commit(offsets=ends, asynchronous=False)
        except KafkaException:
            return False
        return True

    wait_until(moved, 30, "the group is empty and its offsets are moved")
    consumer.close()


def restore_a_backup(shop: Shop) -> str:
    settle_some(shop)
    backup = shop.folder / "backup.db"
    shutil.copy(shop.ledger, backup)
    settle_some(shop)
    shutil.copy(backup, shop.ledger)
    return "it is behind Kafka, perhaps restored from a backup; bring back the newest copy of the ledger"


def lose_the_ledger(shop: Shop) -> str:
    settle_some(shop)
    shop.ledger.rename(shop.folder / "lost.db")
    return "Kafka holds outcomes of the ledger"


def make_a_topic_anew(shop: Shop) -> str:
    settle_some(shop)
    client = AdminClient({"bootstrap.servers": shop.plan.bootstrap})
    client.delete_topics([shop.plan.verdicts])[shop.plan.verdicts].result(30)
    wait_until(lambda: shop.plan.verdicts not in client.list_topics(timeout=5).topics, 30, "the topic is gone")
    create_topics(shop.plan.bootstrap, {shop.plan.verdicts: LANES})
    return f"it belongs to topic {shop.plan.verdicts} with the id"


def let_retention_pass(shop: Shop) -> str:
    settle_some(shop)
    shop.pay(20)
    client = AdminClient({"bootstrap.servers": shop.plan.bootstrap})
    everything = [TopicPartition(shop.plan.commands, lane, -1) for lane in range(LANES)]
    for future in client.delete_records(everything).values():
        future.result(30)
    return "Kafka does not hold the records at its offsets"


def split_one_topic_otherwise(shop: Shop) -> str:
    other = unique("verdicts")
    create_topics(shop.plan.bootstrap, {other: LANES + 1})
    shop.change(verdicts=other)
    return "the topics have different numbers of partitions"


def hold_the_ledger(shop: Shop) -> str:
    shop.pay(1)
    shop.worker()
    shop.wait_until_said()
    return "another settlement instance"


@pytest.mark.slow
@pytest.mark.parametrize(
    "misfortune",
    [
        restore_a_backup,
        lose_the_ledger,
        make_a_topic_anew,
        let_retention_pass,
        split_one_topic_otherwise,
        hold_the_ledger,
    ],
)
def test_what_does_not_belong_together_is_refused_in_one_sentence(
    shop: Shop, misfortune: Callable[[Shop], str]
) -> None:
    """Starting again would not help, so the exit code is 3 and the sentence says what to do."""
    sentence = misfortune(shop)
    refused = shop.worker()
    assert refused.wait(30) == 3
    assert sentence in reason(refused)


def reason(worker: Supervised) -> str:
    (line,) = said(worker, "refused")
    assert "\n" not in line["why"]
    return str(line["why"])
