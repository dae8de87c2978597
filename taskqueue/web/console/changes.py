"""The page Changes: who did what, and when."""

import re

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from taskqueue.web.console import Services
from taskqueue.web.console.guard import sees_all
from taskqueue.web.http.access import caller_sees

SHOWN = 50


def register(blueprint: Blueprint, services: Services) -> None:
    """Add the page."""

    @blueprint.get("/changes")
    def changes() -> ResponseReturnValue:
        below = request.args.get("below", "")
        page, next_page = services.changes.page(
            SHOWN,
            below if re.fullmatch(r"\d{1,16}-\d{1,16}", below) else None,
            None if sees_all() else caller_sees,
        )
        return render_template("console/changes.html", changes=page, next=next_page, is_first=not below)
