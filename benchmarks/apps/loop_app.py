"""The loop that tutorials show: BRPOP, run, store. A worker that dies loses its job; nothing is retried."""

import json
import sys
import uuid

from drive import connection, started

QUEUES = ["tasks:high", "tasks:default", "tasks:low"]
RESULT_SECONDS = 86_400
redis = connection()


def noop() -> None:
    pass


HANDLERS = {"noop": noop, "stamp": started}


def enqueue(name: str, **payload: object) -> None:
    task = {"id": str(uuid.uuid4()), "type": name, "payload": payload, "status": "queued"}
    redis.lpush("tasks:default", json.dumps(task))


def enqueue_noops(count: int) -> None:
    for _ in range(count):
        enqueue("noop")


def enqueue_stamp(at: float) -> None:
    enqueue("stamp", at=at)


def store(task: dict[str, object], status: str) -> None:
    task["status"] = status
    redis.set(f"task:{task['id']}", json.dumps(task), ex=RESULT_SECONDS)


def work() -> None:
    while True:
        _, raw = redis.brpop(QUEUES)
        task = json.loads(raw)
        store(task, "processing")
        task["result"] = HANDLERS[task["type"]](**task["payload"])
        store(task, "complete")


if __name__ == "__main__":
    sys.exit(work())
