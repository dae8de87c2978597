"""The plugin of pytest: the fixture `task_queue`. Nothing else is imported until a test asks for it."""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from taskqueue.testing.inline_queue import InlineQueue


@pytest.fixture
def task_queue() -> "Iterator[InlineQueue]":
    """A task queue in this process: `submit` runs the job at once, with its validation, its JSON and its retries.

    `task_queue.assert_submitted(send_email, to="ada@example.com")` finds what was submitted;
    `task_queue.travel(hours=1)` runs what is due until then.
    """
    from taskqueue.testing.inline_queue import inline_queue

    with inline_queue() as queue:
        yield queue
