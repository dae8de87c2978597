"""The operations that the command line needs, and the choice of a client for them: over Redis or over HTTP."""

import argparse
import os
from collections.abc import Iterator, Mapping
from typing import Protocol

from taskqueue.cli.api import Api
from taskqueue.cli.by_http import HttpClient
from taskqueue.cli.by_redis import RedisClient
from taskqueue.jobtypes.signature import Json
from taskqueue.settings import Settings

Row = dict[str, Json]


class Client(Protocol):
    """Operations of the command line. A task has the fields of `GET /tasks/<id>`. All raise `TaskQueueError`."""

    def submit(self, task_type: str, payload: Json, options: Mapping[str, str]) -> Row:
        """Queue a task, and return it."""

    def get(self, task_id: str) -> Row:
        """Return a task as it is now."""

    def follow(self, task_id: str) -> Iterator[tuple[str, Row]]:
        """Yield the names and data of the events of `GET /tasks/<id>/events`, until the task has ended.

        Raises `UnknownTask` where the API sends the event `gone`.
        """

    def cancel(self, task_id: str) -> Row:
        """Cancel a task, and return it."""

    def requeue(self, task_id: str) -> Row:
        """Queue a failed or canceled task again, and return it."""

    def queues(self) -> list[Row]:
        """Return all queues with their counts of tasks."""

    def workers(self) -> list[Row]:
        """Return the workers that Redis has not forgotten."""


def client_for(args: argparse.Namespace) -> Client:
    """Return the client that the arguments and the environment ask for.

    Raises `InvalidSetting`, `InvalidJobType`.
    """
    if args.url:
        return HttpClient(Api(args.url, os.environ.get("TASK_QUEUE_KEY")))
    return RedisClient(Settings.read(os.environ))
