"""All that a Redis holds, read in one step: what the invariants look at."""

from collections import defaultdict
from typing import Any

from redis import Redis

READ_ALL = """
local READ = {
    string = { 'GET' }, list = { 'LRANGE', 0, -1 }, set = { 'SMEMBERS' }, hash = { 'HGETALL' },
    zset = { 'ZRANGE', 0, -1, 'WITHSCORES' }, stream = { 'XRANGE', '-', '+' },
}
local all = {}
for _, key in ipairs(redis.call('KEYS', '*')) do
    local kind = redis.call('TYPE', key).ok
    local read = READ[kind]
    all[#all + 1] = { key, kind, redis.call('TTL', key), redis.call(read[1], key, unpack(read, 2)) }
end
return { redis.call('TIME')[1], all }
"""
REGISTRIES = ("scheduled", "deferred", "ready", "finished", "failed", "canceled")
FOREVER = -1  # Redis's answer to TTL for a key without a lifetime


class World:
    """The keys of one Redis, by type and name; ids, members and fields are texts."""

    def __init__(self, redis: Redis) -> None:
        now, keys = redis.eval(READ_ALL, 0)  # type: ignore[misc]  # redis-py's annotation covers asyncio, too
        self.now = float(now)
        self.ttl: dict[str, int] = {}
        self.hashes: dict[str, dict[str, str]] = {}
        self.lists: dict[str, list[str]] = {}
        self.sets: dict[str, set[str]] = {}
        self.zsets: dict[str, dict[str, float]] = {}
        self.strings: dict[str, str] = {}
        self.streams: dict[str, list[dict[str, str]]] = {}
        for raw_key, kind, ttl, value in keys:
            key = raw_key.decode()
            self.ttl[key] = ttl
            match kind:
                case b"hash":
                    self.hashes[key] = _pairs(value)
                case b"list":
                    self.lists[key] = [*map(_text, value)]
                case b"set":
                    self.sets[key] = {*map(_text, value)}
                case b"zset":
                    self.zsets[key] = {member: float(score) for member, score in _pairs(value).items()}
                case b"string":
                    self.strings[key] = _text(value)
                case b"stream":
                    self.streams[key] = [_pairs(fields) for _, fields in value]
        # <job>:<execution> of all started registries, with the end of the lease
        self.leases = {
            m: end for key, ends in self.zsets.items() if key.startswith("rq:wip:") for m, end in ends.items()
        }
        self.places = self._places()

    def job(self, job_id: str) -> dict[str, str]:
        """Return a job's hash; {} if there is none."""
        return self.hashes.get(f"rq:job:{job_id}", {})

    @property
    def job_ids(self) -> list[str]:
        """The ids of all job hashes."""
        return [key.removeprefix("rq:job:") for key in self.hashes if key.startswith("rq:job:")]

    def _places(self) -> dict[str, list[str]]:
        """Return where each job is, by its id: "queue:high", "wip:low", "held" …; once for each entry."""
        places = defaultdict[str, list[str]](list)
        for key, members in self.lists.items():
            place = "held" if key.endswith(":held") else key.removeprefix("rq:")
            if place == "held" or place.startswith("queue:"):
                for job_id in members:
                    places[job_id].append(place)
        for key, scores in self.zsets.items():
            place = key.removeprefix("rq:")
            if place.startswith("wip:"):
                for member in scores:
                    places[member.rpartition(":")[0]].append(place)
            elif place.partition(":")[0] in REGISTRIES:
                for job_id in scores:
                    places[job_id].append(place)
        return places


def _text(value: bytes) -> str:
    return value.decode("latin-1")


def _pairs(flat: list[Any]) -> dict[str, str]:
    return {_text(flat[i]): _text(flat[i + 1]) for i in range(0, len(flat), 2)}
