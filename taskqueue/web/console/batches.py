"""The page Batches: how far each is; and the page of a batch, with its tasks."""

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from taskqueue.web.console import Services
from taskqueue.web.console.guard import about_all_types

SHOWN = 20
TASKS_SHOWN = 50


def register(blueprint: Blueprint, services: Services) -> None:
    """Add the pages."""

    @blueprint.get("/batches")
    @about_all_types
    def batches() -> ResponseReturnValue:
        return render_template("console/batches.html", batches=services.batches.latest(SHOWN))

    @blueprint.get("/batches/<batch_id>")
    @about_all_types
    def batch(batch_id: str) -> ResponseReturnValue:
        batch = services.batches.get(batch_id)
        first = max(0, request.args.get("first", 0, type=int))
        ids = services.batches.task_ids(batch_id, first, TASKS_SHOWN)
        tasks = services.listing.tasks(ids)
        return render_template(
            "console/batch.html",
            batch=batch,
            first=first,
            next=first + TASKS_SHOWN if first + TASKS_SHOWN < batch.total else None,
            rows=[(task_id, tasks.get(task_id)) for task_id in ids],
        )
