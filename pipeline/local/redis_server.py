"""One Redis (or Valkey) on the loopback interface, its data in one folder.

It appends each change to a file (`appendonly`, forced to disk each second), because the fraud agent's state must
outlive a restart in the middle of a demo: what was acknowledged survives kill -9, as it is in the kernel's hands by
then; only a power loss may take the last second. It never evicts: losing a payer's history silently would be worse than
a refused write.
"""

from __future__ import annotations

from typing import ClassVar

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from pipeline.errors import OutsideError, RedisUnavailable, UsageError
from pipeline.local.cache import private_dir
from pipeline.local.loopback import HOST
from pipeline.local.process import Supervised
from pipeline.local.programs import clean_env, redis_program
from pipeline.local.server import LocalServer

_ANSWER_S = 0.5
_CONFIGURATION = """\
bind {host}
port {port}
protected-mode yes
# The working directory is the server's own folder.
dir .
daemonize no
logfile ""
databases 4
save ""
appendonly yes
appendfsync everysec
maxmemory-policy noeviction
tcp-keepalive 30
"""


class RedisServer(LocalServer):
    """A Redis under `folder`; `address` is a URL with database 0."""

    name: ClassVar[str] = "Redis"
    error: ClassVar[type[OutsideError]] = RedisUnavailable
    start_timeout_s: ClassVar[float] = 20.0

    @property
    def address(self) -> str:
        """`redis://127.0.0.1:PORT/0`. Raises UsageError before the first start."""
        if not self.ports:
            raise UsageError("The local Redis has not been started.")
        return f"redis://{HOST}:{self.ports[0]}/0"

    def _prepare(self) -> Supervised:
        private_dir(self.folder)
        call = [str(redis_program()), str(self.folder / "redis.conf")]
        return Supervised(self.name, call, clean_env(), self.log_path, self.folder)

    def _configure(self) -> None:
        (self.folder / "redis.conf").write_text(_CONFIGURATION.format(host=HOST, port=self.ports[0]), "utf-8")

    def _healthy(self) -> bool:
        # No retries: a port that somebody holds without answering must not keep us from seeing that our process ended.
        once = Retry(NoBackoff(), 0)
        client = redis.Redis(host=HOST, port=self.ports[0], socket_timeout=_ANSWER_S, retry=once)
        try:
            # While it loads its file it refuses; a stranger on the port works in another folder.
            return bool(client.ping()) and self.folder.samefile(client.config_get("dir")["dir"] or "/")
        except (redis.RedisError, OSError):
            return False
        finally:
            client.close()
