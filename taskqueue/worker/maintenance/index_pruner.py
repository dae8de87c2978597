"""Keeps the indexes of tasks short: what RQ has forgotten is taken out, a little in each second."""

from collections.abc import Iterable

from redis import Redis
from rq.defaults import RQ_KEY_PREFIX

from taskqueue.store import scripts
from taskqueue.store.keys import INDEX, TAG_INDEXES, type_index_key

STEP = 1000  # tasks of one index in one go: about a millisecond of Redis
MOST_STEPS = 25  # in one call, while most of what is looked at is gone: as many tasks may end in a second


class IndexPruner:
    """Goes round all indexes, again and again. One worker does it, the one that moves what is due."""

    def __init__(self, connection: Redis, job_types: Iterable[str]) -> None:
        self._connection = connection
        self._job_types = job_types
        self._script = scripts.register(connection, "prune_index")
        self._left: list[str] = []  # the indexes of this round
        self._from = "-inf"

    def run(self) -> None:
        """Look at some more. Raises the driver's errors."""
        for _ in range(MOST_STEPS):
            if not self._left:
                self._left = self._indexes()
            next_score, seen, gone = self._script(keys=[self._left[-1]], args=[RQ_KEY_PREFIX, self._from, STEP])
            self._from = next_score.decode() or "-inf"
            if not next_score:
                self._forget_if_empty(self._left.pop())
            if gone <= seen / 2:
                return

    def _indexes(self) -> list[str]:
        tags = (key.decode(errors="replace") for key in self._connection.sscan_iter(TAG_INDEXES))
        return [INDEX, *(type_index_key(name) for name in self._job_types), *tags]

    def _forget_if_empty(self, index: str) -> None:
        if not self._connection.exists(index):
            self._connection.srem(TAG_INDEXES, index)
