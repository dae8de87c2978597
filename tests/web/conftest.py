"""The application as a client of it sees it."""

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from taskqueue.job_types import JobTypes
from taskqueue.settings import Settings
from web import create_app


@pytest.fixture
def app(settings: Settings, job_types: JobTypes) -> Flask:
    return create_app(settings, job_types)


@pytest.fixture
def client(app: Flask) -> Iterator[FlaskClient]:
    with app.test_client() as client:
        yield client


def problem(response: TestResponse, status: int) -> dict[str, Any]:
    """The problem document (RFC 9457) that the response must be."""
    assert response.status_code == status, response.get_data(as_text=True)
    assert response.content_type == "application/problem+json"
    document: dict[str, Any] = response.get_json(force=True)
    assert document["status"] == status
    assert document["title"]
    return document
