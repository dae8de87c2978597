"""Records what a version leaves in Redis: `python -m tests.upgrade.record 8523f8c` (a commit of this repository).

It writes tests/upgrade/<commit>.json: all keys, and the ids of the tasks by the states in which they are.
"""

import io
import json
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from redis import Redis

from tests.conftest import ROOT, RedisServer
from tests.upgrade.versions import Version, fill, laid_out

HERE = Path(__file__).parent
FORGET = ("rq:worker", "rq:scheduler-lock")  # of the dead worker: Redis forgets it while nobody records


def checked_out(commit: str, folder: Path) -> Path:
    """Write the files of a commit to a folder. Raises CalledProcessError where the history is not here."""
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(folder, filter="data")
    return folder


def dump(redis: Redis) -> list[dict[str, Any]]:
    """Return all keys as JSON values; each byte is a character (Latin-1)."""
    rows = []
    for key in sorted(redis.scan_iter(count=1000)):
        kind = redis.type(key).decode()
        match kind:
            case "string":
                value: Any = text(redis.get(key))
            case "hash":
                value = {text(name): text(field) for name, field in redis.hgetall(key).items()}
            case "list":
                value = list(map(text, redis.lrange(key, 0, -1)))
            case "set":
                value = sorted(map(text, redis.smembers(key)))
            case "zset":
                value = [[text(member), score] for member, score in redis.zrange(key, 0, -1, withscores=True)]
            case "stream":
                entries: Any = redis.xrange(key)
                value = [
                    [text(name), {text(field): text(content) for field, content in fields.items()}]
                    for name, fields in entries
                ]
        rows.append({"key": text(key), "type": kind, "value": value, "pttl": redis.pttl(key)})
    return [row for row in rows if not row["key"].startswith(FORGET)]


def text(value: Any) -> str:
    return bytes(value).decode("latin-1")


def load(redis: Redis, rows: list[dict[str, Any]]) -> None:
    """Write the keys that `dump` has returned."""
    for row in rows:
        key, value = row["key"].encode("latin-1"), row["value"]
        match row["type"]:
            case "string":
                redis.set(key, value.encode("latin-1"))
            case "hash":
                redis.hset(key, mapping=encoded(value))
            case "list":
                redis.rpush(key, *(each.encode("latin-1") for each in value))
            case "set":
                redis.sadd(key, *(each.encode("latin-1") for each in value))
            case "zset":
                redis.zadd(key, {member.encode("latin-1"): score for member, score in value})
            case "stream":
                for name, fields in value:
                    redis.xadd(key, encoded(fields), id=name)
        if row["pttl"] > 0:
            redis.pexpire(key, row["pttl"])


def encoded(fields: dict[str, str]) -> Any:
    return {name.encode("latin-1"): value.encode("latin-1") for name, value in fields.items()}


def main(commit: str) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "redis").mkdir()
        server = RedisServer(folder / "redis")
        server.start()
        version = Version(laid_out(checked_out(commit, folder / "all"), folder / "project"), server.url)
        try:
            version.start_web()
            tasks = fill(version)
            version.stop()
            with Redis(port=server.port) as redis:
                rows = dump(redis)
        finally:
            version.stop()
            server.stop()
        recorded = {"at": time.time(), "tasks": tasks, "keys": rows}
        (HERE / f"{commit}.json").write_text(json.dumps(recorded, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
