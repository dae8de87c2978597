"""RQ itself, with the JSON serializer, like this project."""

from drive import connection, started
from rq import Queue
from rq.serializers import JSONSerializer

queue = Queue("default", connection=connection(), serializer=JSONSerializer)


def noop(**payload: object) -> None:
    pass


def stamp(at: float) -> None:
    started(at)


def enqueue_noops(count: int) -> None:
    for _ in range(count):
        queue.enqueue("rq_app.noop")


def enqueue_stamp(at: float) -> None:
    queue.enqueue("rq_app.stamp", at)
