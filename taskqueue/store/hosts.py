"""The hosts that did not answer lately, and for how long no task asks them: one state for all workers."""

import time
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, Self, cast

from redis import Redis

from taskqueue.store import scripts
from taskqueue.store.keys import HOSTS, decoded, host_key

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 5, 300
ASKING_SECONDS = 60  # the task that asks after a pause may take so long, before another one asks, too
KEPT_SECONDS = 600  # after a pause: a host that fails again so soon gets a longer one
MAX_HOSTS = 1000  # clients choose the hosts of callbacks and feeds

HostKind = Literal["callback", "mail", "feed", "other"]
SHOWN: dict[HostKind, str] = {
    "callback": "receiver of callbacks",
    "mail": "mail server",
    "feed": "feed's host",
    "other": "host",
}


class Host(NamedTuple):
    """A host that tasks ask for something: no URL, so that neither a key nor a message has a secret in it."""

    kind: HostKind
    name: str
    port: int

    @property
    def member(self) -> str:
        """The host as keys name it: "mail:smtp.example.com:587"."""
        name = self.name.lower().rstrip(".")[:253]  # the longest name of DNS
        return f"{self.kind}:{f'[{name}]' if ':' in name else name}:{self.port}"

    @property
    def shown(self) -> str:
        """The host in words: "mail server smtp.example.com:587"."""
        return f"{SHOWN[self.kind]} {self.member.partition(':')[2]}"

    @classmethod
    def of(cls, member: str) -> Self | None:
        """Return the host that keys name so; None for what another program has written."""
        kind, _, address = member.partition(":")
        name, _, port = address.rpartition(":")
        if kind not in SHOWN or not (port.isascii() and port.isdigit()):
            return None
        return cls(kind, name.strip("[]"), int(port))


class Pause(NamedTuple):
    """What is known of a host that has failed."""

    state: str  # "open": it may be asked; "paused"; "asked": one task is asking it after a pause
    failures: int  # in a row
    seconds: float  # until the pause ends
    why: str  # what the host did: "did not answer in 10 s"
    at: float  # when it did that, in seconds since 1970

    @property
    def is_open(self) -> bool:
        """Whether a task may ask the host now."""
        return self.state == "open"


class Hosts:
    """The state of all hosts in Redis. Each method is one round trip, and raises the driver's errors."""

    def __init__(self, connection: Redis) -> None:
        self._connection = connection
        self._script = scripts.register(connection, "wrong_types", "careful", "host")

    def enter(self, host: Host) -> Pause:
        """Return whether a task may ask the host; after a pause only the first that calls this may."""
        return self._call(host.member, "enter")

    def look(self, host: Host) -> Pause:
        """Return whether a task may ask the host, and change nothing."""
        return self._call(host.member, "look")

    def failed(self, host: Host, seen: int, why: str) -> Pause:
        """Note that the host has failed a task, to which `enter` had returned so many failures (`seen`)."""
        return self._call(host.member, "failed", seen, why)

    def answered(self, host: Host) -> None:
        """Note that a host that had failed has answered."""
        self._call(host.member, "answered")

    def paused(self) -> list[Host]:
        """Return the hosts that no task asks now, the one with the longest pause first."""
        return paused_hosts(ask_for_paused(self._connection))

    def _call(self, member: str, step: str, seen: int = 0, why: str = "") -> Pause:
        limits = (FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, ASKING_SECONDS, KEPT_SECONDS, MAX_HOSTS)
        answer = self._script(keys=[host_key(member), HOSTS], args=[step, seen, why, *limits])
        state, failures, seconds, reason, at = cast("tuple[bytes, int, bytes, bytes, bytes]", answer)
        return Pause(state.decode(), failures, float(seconds), decoded(reason), float(at))


def ask_for_paused(connection: Redis) -> Any:
    """Ask Redis, or a pipeline, what `paused_hosts` reads."""
    return connection.zrevrangebyscore(HOSTS, "+inf", time.time(), start=0, num=MAX_HOSTS)


def paused_hosts(members: Sequence[bytes]) -> list[Host]:
    """Return the hosts that no task asks now, the one with the longest pause first."""
    hosts = [Host.of(decoded(member)) for member in members]
    return [host for host in hosts if host]
