"""The application as a client of it sees it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from flask import Flask
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from werkzeug.serving import make_server
from werkzeug.test import TestResponse

from tests.conftest import missing

FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    " --disable-component-update --disable-sync --window-size=1300,1000"
)


@pytest.fixture(scope="session")
def shared_browser(lasting_folder: Path) -> Iterator[Chrome]:
    """Start one Chromium for all tests."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        missing("Chromium (apt-get install chromium chromium-driver)")
    options = ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS.split(), f"--user-data-dir={lasting_folder / 'chromium'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with Chrome(options, ChromeService(driver)) as browser:
        yield browser


@pytest.fixture
def browser(shared_browser: Chrome) -> Chrome:
    """Return the Chromium, without the messages of earlier tests in its log."""
    shared_browser.get_log("browser")  # type: ignore[no-untyped-call]
    return shared_browser


@contextmanager
def served(app: Flask, host: str = "127.0.0.1") -> Iterator[str]:
    server = make_server(host, 0, app, threaded=True)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://{host}:{server.port}"
    finally:  # a test that fails would leave a thread that holds up the end of the session
        server.shutdown()
        thread.join()
        server.server_close()
        if subscriptions := app.extensions.get("subscriptions"):
            subscriptions.close()


def problem(response: TestResponse, status: int) -> dict[str, Any]:
    """The problem document (RFC 9457) that the response must be."""
    assert response.status_code == status, response.get_data(as_text=True)
    assert response.content_type == "application/problem+json"
    document: dict[str, Any] = response.get_json(force=True)
    assert document["status"] == status
    assert document["title"]
    return document
