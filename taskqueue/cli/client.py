"""What the command line asks of the queue, and which way it goes: to Redis, or to the HTTP API."""

import argparse
import os
from collections.abc import Iterator, Mapping
from typing import Protocol

from taskqueue.cli.api import Api
from taskqueue.cli.by_http import HttpClient
from taskqueue.cli.by_redis import RedisClient
from taskqueue.jobtypes.registry import discover
from taskqueue.jobtypes.signature import Json
from taskqueue.settings import Settings

Row = dict[str, Json]


class Client(Protocol):
    """A task is told as in `GET /tasks/<id>`."""

    def submit(self, task_type: str, payload: Json, options: Mapping[str, str]) -> Row:
        """Queue a task."""

    def get(self, task_id: str) -> Row:
        """A task, now."""

    def follow(self, task_id: str) -> Iterator[tuple[str, Row]]:
        """What happens to it, until it has ended: the events of `GET /tasks/<id>/events`, their names and data.

        Instead of `gone` it raises `UnknownTask`.
        """

    def cancel(self, task_id: str) -> Row:
        """Cancel it."""

    def requeue(self, task_id: str) -> Row:
        """Send it again."""

    def queues(self) -> list[Row]:
        """Each queue, with how much waits."""

    def workers(self) -> list[Row]:
        """Each worker that lives."""


def client_of(asked: argparse.Namespace) -> Client:
    """The client that the arguments and the environment ask for. Raises `InvalidSetting`, `InvalidJobType`."""
    if asked.url:
        return HttpClient(Api(asked.url, os.environ.get("TASK_QUEUE_KEY")))
    settings = Settings.read(os.environ)
    return RedisClient(settings, discover(queues=settings.queues))
