"""Removes tasks from the indexes that RQ has forgotten: a few in each second."""

from collections.abc import Iterable

from redis import Redis
from rq.defaults import RQ_KEY_PREFIX

from taskqueue.store import scripts
from taskqueue.store.keys import INDEX, TAG_INDEXES, decoded, type_index_key

STEP = 1000  # tasks of one index in one call: about a millisecond of Redis
MAX_STEPS = 25  # in one run, while most of what it looks at is gone: 25,000 tasks may end in a second


class IndexPruner:
    """A chore of the scheduling worker, once a second: goes through all indexes, round after round."""

    def __init__(self, connection: Redis, job_types: Iterable[str]) -> None:
        self._connection = connection
        self._job_types = job_types
        self._script = scripts.register(connection, "wrong_types", "careful", "prune_index")
        self._indexes_left: list[str] = []  # of this round
        self._from_score = "-inf"

    def run(self) -> None:
        """Look at the next entries, and remove those that are gone. Raises the driver's errors."""
        for _ in range(MAX_STEPS):
            if not self._indexes_left:
                self._indexes_left = self._indexes()
            index = self._indexes_left[-1]
            next_score, seen, gone = self._script(keys=[index], args=[RQ_KEY_PREFIX, self._from_score, STEP])
            self._from_score = next_score.decode() or "-inf"
            if not next_score:
                self._forget_if_empty(self._indexes_left.pop())
            if gone <= seen / 2:
                return

    def _indexes(self) -> list[str]:
        tags = (decoded(key) for key in self._connection.sscan_iter(TAG_INDEXES))
        return [INDEX, *(type_index_key(name) for name in self._job_types), *tags]

    def _forget_if_empty(self, index: str) -> None:
        if not self._connection.exists(index):
            self._connection.srem(TAG_INDEXES, index)
