"""A notice says on the next page what a form has done. A short-lived cookie carries it over the redirect."""

import json
from dataclasses import asdict, dataclass
from urllib.parse import quote, unquote

from flask import Blueprint, Response, g, redirect, request, url_for
from flask.typing import ResponseReturnValue

from taskqueue.web.console.guard import set_cookie

COOKIE = "tq_notice"
SECONDS = 60
MAX_CHARACTERS = 600


@dataclass(frozen=True)
class Notice:
    """What was done, and how to take it back or where to look."""

    text: str
    link: str = ""  # an address of the console
    link_text: str = ""
    undo: str = ""  # an address of the console, to POST to


def register(blueprint: Blueprint) -> None:
    """Show the notice of the last form on each page, once."""

    @blueprint.context_processor
    def context() -> dict[str, object]:
        return {"notice": _read()}

    @blueprint.after_request
    def forget(response: Response) -> Response:
        if g.get("notice_shown") and response.status_code == 200:
            response.delete_cookie(COOKIE, path=f"{request.script_root}/console")
        return response


def done(notice: Notice | str, back: str = "") -> ResponseReturnValue:
    """Return the answer to a form: the page `back`, or that from which the form came, with a notice on it."""
    notice = Notice(notice) if isinstance(notice, str) else notice
    response = redirect(back or _came_from(), 303)
    text = json.dumps(asdict(notice))
    if len(text) > MAX_CHARACTERS:
        text = json.dumps({"text": notice.text[:MAX_CHARACTERS]})
    set_cookie(response, COOKIE, quote(text), SECONDS)
    return response


def _came_from() -> str:
    """Return the page that the form names in its field `back`, if it is one of the console."""
    back = request.form.get("back", "")
    start = f"{request.script_root}/console"
    return back if back.startswith((start + "/", start + "?")) or back == start else url_for("console.now")


def _read() -> Notice | None:
    text = request.cookies.get(COOKIE)
    if not text:
        return None
    g.notice_shown = True
    try:
        fields = json.loads(unquote(text))
        notice = Notice(**{name: str(value) for name, value in fields.items()})
    except (ValueError, TypeError, AttributeError):  # somebody has written it
        return None
    start = f"{request.script_root}/console/"
    is_ours = all(not address or address.startswith(start) for address in (notice.link, notice.undo))
    return notice if is_ours else None
