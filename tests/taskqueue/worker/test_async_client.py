"""An asynchronous client that a process keeps from one run to the next works in every run."""

import socketserver
from collections.abc import Callable, Iterator
from threading import Thread

import pytest

from taskqueue.enqueue.queue import TaskQueue
from tests.taskqueue.worker.stage import RunningWorker, until


class Echo(socketserver.StreamRequestHandler):
    """Answers each line with the number of its connection and the line."""

    def handle(self) -> None:
        self.server.count += 1  # type: ignore[attr-defined]
        number = self.server.count  # type: ignore[attr-defined]
        for line in self.rfile:
            self.wfile.write(f"{number}:".encode() + line)


@pytest.fixture
def port() -> Iterator[int]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
        server.daemon_threads = True
        server.count = 0  # type: ignore[attr-defined]
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def test_a_connection_of_the_first_run_works_in_the_next_ones(
    start: Callable[..., RunningWorker], queue: TaskQueue, port: int
) -> None:
    start()
    answers = []
    for word in ("one", "two", "three"):
        task = queue.submit("talks", {"port": port, "word": word})
        until(queue, task.id, "complete")
        answers.append(queue.get(task.id).result)
    assert answers == ["1:one", "1:two", "1:three"]
