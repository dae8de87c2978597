"""The API document: for programs at `/openapi.json`, for people at `/docs`, as a page of Swagger UI."""

from functools import cache
from pathlib import Path
from typing import Any

import flask_swagger_ui
from flask import Blueprint, Flask, Response, jsonify, render_template, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import NotFound

from taskqueue.jobtypes.registry import JobTypes
from taskqueue.settings import Settings
from taskqueue.web.http.access import caller_sees
from taskqueue.web.http.endpoint import endpoint
from taskqueue.web.http.static import library_file
from taskqueue.web.openapi import Offer, document

SWAGGER_UI, OWN = Path(flask_swagger_ui.__file__).parent / "dist", Path(__file__).parent
PARTS = {
    "swagger-ui-bundle.js": SWAGGER_UI,
    "swagger-ui.css": SWAGGER_UI,
    "favicon-32x32.png": SWAGGER_UI,
    "start.js": OWN,
}
HOUR_SECONDS = 3600
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",  # no script inside the page: the document there is data
        "style-src 'self'",
        "style-src-attr 'unsafe-inline'",  # Swagger UI positions its icons with it
        "img-src 'self' data:",
        "connect-src 'self'",  # "Try it out"
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)


def views(app: Flask, job_types: JobTypes, settings: Settings) -> Blueprint:
    """Return the views of the API document of `app`."""
    blueprint = Blueprint("docs", __name__, template_folder="templates")

    @cache
    def document_for(names: tuple[str, ...]) -> dict[str, Any]:
        offer = Offer(
            job_types=[job_types[name] for name in names],
            queues=settings.queues,
            keys=bool(settings.api_keys),
            limited=settings.rate_limit is not None,
        )
        return document(app, offer)

    def current_document() -> dict[str, Any]:
        found = document_for(tuple(sorted(filter(caller_sees, job_types))))
        prefix = request.script_root
        return found | {"servers": [{"url": prefix}]} if prefix else found

    @blueprint.get("/openapi.json")
    @endpoint("Get the API document (OpenAPI 3.1)", scope="read", answers={200: dict[str, Any]}, by_type=True)
    def openapi() -> ResponseReturnValue:
        return jsonify(current_document())

    @blueprint.get("/docs")
    @endpoint("Show the API document as a page", scope="read", answers={200: "text/html"}, by_type=True)
    def page() -> ResponseReturnValue:
        response = Response(render_template("docs.html", openapi=current_document()))
        response.headers["Content-Security-Policy"] = POLICY
        response.headers["Referrer-Policy"] = "same-origin"
        return response

    @blueprint.get("/docs/<name>")
    @endpoint("Get a part of the page of the API document", scope=None, answers={200: "*/*"}, problems=(404,))
    def part(name: str) -> ResponseReturnValue:
        if name not in PARTS:
            raise NotFound
        return library_file(PARTS[name] / name, HOUR_SECONDS)

    return blueprint
