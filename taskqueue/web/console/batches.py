"""The page Batches: how far each is."""

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue

from taskqueue.web.console import Services
from taskqueue.web.console.guard import about_all_types

SHOWN = 20


def register(blueprint: Blueprint, services: Services) -> None:
    """Add the page."""

    @blueprint.get("/batches")
    @about_all_types
    def batches() -> ResponseReturnValue:
        return render_template("console/batches.html", batches=services.batches.latest(SHOWN))
