"""`/files`: a download is what was uploaded, and cannot harm the person who opens it."""

from io import BytesIO

import pytest
from flask.testing import FlaskClient
from PIL import Image

from taskqueue.jobtypes.registry import JobTypes
from taskqueue.settings import Settings
from tests.taskqueue.web.conftest import problem
from web import create_app


def png() -> bytes:
    out = BytesIO()
    Image.new("RGB", (2, 2), "red").save(out, "PNG")
    return out.getvalue()


def test_a_multipart_upload_is_kept_and_given_back(client: FlaskClient) -> None:
    response = client.post("/files", data={"file": (BytesIO(png()), "my photo.png")})
    body = response.get_json()
    assert response.status_code == 201
    assert (body["size"], body["content_type"]) == (len(png()), "image/png")
    assert body["filename"].endswith("-my-photo.png")
    assert response.headers["Location"] == f"/files/{body['filename']}"
    fetched = client.get(response.headers["Location"])
    assert (fetched.data, fetched.content_type) == (png(), "image/png")
    assert fetched.headers["Content-Disposition"].startswith("inline")


def test_a_raw_upload_is_kept_under_its_name(client: FlaskClient) -> None:
    response = client.post("/files?filename=a.png", data=png(), content_type="image/png")
    assert response.get_json()["filename"].endswith("-a.png")


def test_the_type_comes_from_the_content_not_from_the_sender(client: FlaskClient) -> None:
    body = client.post("/files?filename=a.png", data=b"<!DOCTYPE html><p>", content_type="image/png").get_json()
    assert body["content_type"] == "text/html"


@pytest.mark.parametrize(
    "content",
    [
        b"<!DOCTYPE html><script>alert(1)</script>",
        b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
        b"%PDF-1.7 /JavaScript",
        b"\x00\x01\x02\xff",
    ],
)
def test_what_a_browser_would_run_is_a_download(client: FlaskClient, content: bytes) -> None:
    location = client.post("/files", data=content, content_type="text/html").headers["Location"]
    response = client.get(location)
    assert response.data == content
    assert response.content_type == "application/octet-stream"
    assert response.headers["Content-Disposition"].startswith("attachment")
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "..\\..\\boot.ini", "a/b", "\r\nX-Evil: 1", "ü" * 300, ".", ""]
)
def test_a_hostile_name_becomes_a_harmless_one(client: FlaskClient, name: str) -> None:
    response = client.post("/files", query_string={"filename": name}, data=b"text", content_type="text/plain")
    filename = response.get_json()["filename"]
    assert not set(filename) & set("/\\\r\n")
    assert len(filename) < 128
    assert client.get(f"/files/{filename}").data == b"text"


def test_a_part_of_a_file_can_be_fetched(client: FlaskClient) -> None:
    location = client.post("/files", data=b"0123456789", content_type="text/plain").headers["Location"]
    response = client.get(location, headers={"Range": "bytes=2-4"})
    assert (response.status_code, response.data) == (206, b"234")


def test_an_unknown_file_is_a_404(client: FlaskClient) -> None:
    assert problem(client.get("/files/nope"), 404)["title"] == "There is no such file"


def test_an_empty_file_is_a_400(client: FlaskClient) -> None:
    problem(client.post("/files", data=b"", content_type="image/png"), 400)


def test_a_form_without_a_file_is_a_400(client: FlaskClient) -> None:
    response = client.post("/files", data={"a": "b"}, content_type="multipart/form-data")
    assert "-F file=@photo.jpg" in problem(response, 400)["detail"]


@pytest.mark.parametrize("multipart", [True, False])
def test_a_file_that_is_too_large_is_a_413(
    env: pytest.MonkeyPatch, job_types: JobTypes, settings: Settings, multipart: bool
) -> None:
    client = create_app(Settings(redis_url=settings.redis_url, max_file_bytes=100), job_types).test_client()
    for size, status in ((100, 201), (101, 413)):
        content = b"x" * size
        data = {"file": (BytesIO(content), "a")} if multipart else content
        kind = "multipart/form-data" if multipart else "text/plain"
        response = client.post("/files", data=data, content_type=kind)
        assert response.status_code == status
    assert "100 bytes" in problem(response, 413)["detail"]
