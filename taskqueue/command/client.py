"""What the command line asks of the queue, and which way it goes: to Redis, or to the HTTP API."""

import argparse
import os
from collections.abc import Mapping
from typing import Protocol

from taskqueue.command.by_http import HttpClient
from taskqueue.command.by_redis import RedisClient
from taskqueue.job_types import discover
from taskqueue.settings import Settings
from taskqueue.signature import Json

Row = dict[str, Json]


class Client(Protocol):
    """A task is told as in `GET /tasks/<id>`."""

    def submit(self, task_type: str, payload: Json, options: Mapping[str, str]) -> Row:
        """Queue a task."""

    def get(self, task_id: str) -> Row:
        """A task, now."""

    def log(self, task_id: str, after: str) -> list[Row]:
        """What its job has said behind the line of that id ("0-0": from the beginning)."""

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
        return HttpClient(asked.url, os.environ.get("TASK_QUEUE_KEY"))
    settings = Settings.read(os.environ)
    return RedisClient(settings, discover(queues=settings.queues))
