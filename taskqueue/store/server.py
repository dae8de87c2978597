"""Looks once whether a Redis can be used at all: its version, its mode, and the rights of its user."""

from collections.abc import Callable
from secrets import token_hex
from typing import Any, NamedTuple

from redis import Redis
from redis.exceptions import ClusterCrossSlotError, NoPermissionError, ResponseError
from rq.command import PUBSUB_CHANNEL_TEMPLATE
from rq.defaults import RQ_KEY_PREFIX

from taskqueue.store import scripts
from taskqueue.store.keys import CHANGES_CHANNEL, decoded

OLDEST = (7, 0)  # LMPOP, INFO with several sections
NEEDED = "Redis 7.0 or newer, or Valkey, is needed"
RIGHTS = (
    f"~{RQ_KEY_PREFIX}:* ~tq:* &rq:* &tq:* +@connection +@read +@write +@keyspace +@pubsub +@transaction"
    " +@scripting +@blocking +time -@dangerous +info"
)
"""What a Redis user needs at most, as `ACL SETUSER` takes it: docs/access.md."""
NO_RIGHT = ("can't run this command", "can't access", "can't publish", "no permissions", "ACL failure")


class Unusable(NamedTuple):
    """Why no task can be queued or run with this Redis, and what to do. Both are parts of one sentence."""

    about: str  # version, cluster, rights
    message: str
    fix: str

    @property
    def sentence(self) -> str:
        """Message and fix, for the log of a program that does not start."""
        return f"{self.message}; {self.fix}"


def info(connection: Redis, *sections: str) -> dict[str, Any]:
    """Return these sections of INFO, {} if the user may not ask for it. Raises the driver's other errors."""
    try:
        return dict(connection.info(*sections))
    except ResponseError:
        return {}


def why_unusable(connection: Redis) -> Unusable | None:
    """Return why this Redis cannot be used; None if it can. Raises the driver's errors where it cannot be seen."""
    server = info(connection)
    version = str(server.get("redis_version", ""))
    numbers = version.split(".")[:2]
    if all(number.isdigit() for number in numbers) and tuple(map(int, numbers)) < OLDEST:
        return Unusable("version", f"this is Redis {version}", NEEDED)
    if server.get("cluster_enabled") or server.get("redis_mode") == "cluster":
        return _cluster()
    probes: tuple[Callable[[Redis], Unusable | None], ...] = (_try_scripts, _try_blocking, _try_channels)
    for probe in probes:
        try:
            if unusable := probe(connection):
                return unusable
        except NoPermissionError as error:
            return _no_right(_message(error))
        except ClusterCrossSlotError:
            return _cluster()
        except ResponseError as error:
            message = _message(error)
            if "unknown command" in message.lower():
                return Unusable("version", f"this Redis refuses what is needed ({message})", NEEDED)
            if message == "EXEC without MULTI":
                return _no_right("it cannot run the 'multi' command")
            if not _is_full_or_read_only(message):
                raise
    return None


def _try_scripts(connection: Redis) -> Unusable | None:
    name = token_hex(8)
    keys = [f"{RQ_KEY_PREFIX}:probe:{name}", f"tq:probe:{name}"]
    refused: Any = connection.eval(scripts.source("probe"), len(keys), *keys)
    for command, message in zip(map(decoded, refused[::2]), map(decoded, refused[1::2]), strict=True):
        if "unknown" in message.lower():
            return Unusable("version", f"this Redis has no {command}", NEEDED)
        if any(words in message for words in NO_RIGHT):
            return _no_right(f"{command}: {message.removeprefix('ERR ')}")
    return None


def _try_blocking(connection: Redis) -> None:
    key = f"{RQ_KEY_PREFIX}:probe:{token_hex(8)}"
    # In a transaction it does not wait. Outside of one, Redis would notice the end of the wait only when its clock
    # ticks, ten times a second.
    with connection.pipeline() as transaction:
        transaction.execute_command("BLMOVE", key, key, "LEFT", "LEFT", 0.01)
        transaction.execute()


def _try_channels(connection: Redis) -> None:
    with connection.pubsub() as channels:
        channels.subscribe(PUBSUB_CHANNEL_TEMPLATE % "probe", f"{CHANGES_CHANNEL}probe")
        channels.get_message(timeout=0.4)


def _cluster() -> Unusable:
    return Unusable("cluster", "this Redis is in cluster mode, in which no script can use all keys",
                    "use one with cluster mode off")  # fmt: skip


def _no_right(message: str) -> Unusable:
    return Unusable("rights", f"the Redis user has too few rights ({message})",
                    f"it needs: ACL SETUSER <user> {RIGHTS}")  # fmt: skip


def _message(error: ResponseError) -> str:
    """Return what Redis has said, without what redis-py says of a pipeline's command."""
    return str(error).rpartition(" of pipeline caused error: ")[2]


def _is_full_or_read_only(message: str) -> bool:
    """Return whether Redis refuses all writes for now, so that nothing can be said of its user."""
    return message.startswith(
        ("OOM", "READONLY", "MISCONF", "NOREPLICAS", "command not allowed", "You can't write")
    )
