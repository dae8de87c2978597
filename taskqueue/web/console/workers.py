"""The page Workers: their processes, what each runs, and workers that were lost."""

from dataclasses import dataclass

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue

from taskqueue.monitor.cluster_state import LOST, WorkerView
from taskqueue.web.console import Services
from taskqueue.web.console.guard import about_all_types
from taskqueue.web.console.now import RunningRow, running_rows


@dataclass(frozen=True)
class WorkerRow:
    """A worker, and the tasks that it runs."""

    worker: WorkerView
    running: list[RunningRow]

    @property
    def is_lost(self) -> bool:
        """Whether it was killed or cut off."""
        return self.worker.state == LOST


def register(blueprint: Blueprint, services: Services) -> None:
    """Add the page."""

    @blueprint.get("/workers")
    @about_all_types
    def workers() -> ResponseReturnValue:
        running = running_rows(services)
        rows = [
            WorkerRow(worker, [row for row in running if row.task.worker == worker.name])
            for worker in services.cluster_state.workers()
        ]
        live = [row.worker for row in rows if not row.is_lost]
        releases = sorted({worker.release for worker in live if worker.release})
        return render_template(
            "console/workers.html",
            rows=sorted(rows, key=lambda row: (not row.is_lost, row.worker.name)),
            places=sum(worker.horses for worker in live),
            busy=sum(len(worker.tasks) for worker in live),
            memory=sum(worker.memory_bytes or 0 for worker in live),
            releases=releases,
        )
