"""`/files`: a download is what was uploaded, and cannot harm the person who opens it."""

from dataclasses import replace
from io import BytesIO
from urllib.parse import quote

import pytest
from flask.testing import FlaskClient
from PIL import Image
from redis import Redis
from urllib3.filepost import encode_multipart_formdata
from werkzeug.http import parse_options_header

from taskqueue.jobtypes.registry import JobTypes
from taskqueue.run.files import open_files
from taskqueue.settings import Settings
from taskqueue.settings.api_keys import new_key
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


@pytest.mark.parametrize(
    "name", ["Отчёт.pdf", "Müller Rechnung.pdf", "請求書.pdf", "Q1 (final).pdf", 'a"b;c.pdf', "100%25.pdf"]
)
@pytest.mark.parametrize("way", ["form", "query", "header", "bare header"])
def test_a_name_in_any_script_is_given_back(client: FlaskClient, name: str, way: str) -> None:
    content, headers = b"%PDF-1.7", {}
    if way == "header":
        headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}"}
    elif way == "bare header":
        quoted = name.replace('"', '\\"')
        headers = {"Content-Disposition": f'attachment; filename="{quoted}"'.encode().decode("latin-1")}
    body = content
    if way == "form":  # werkzeug's own test client does not escape a quotation mark
        body, headers["Content-Type"] = encode_multipart_formdata({"file": (name, content)})
    query = {"filename": name} if way == "query" else {}
    response = client.post("/files", data=body, query_string=query, headers=headers)
    assert response.status_code == 201
    assert response.get_json()["name"] == name
    fetched = client.get(response.headers["Location"])
    assert parse_options_header(fetched.headers["Content-Disposition"])[1]["filename"] == name


def test_a_client_that_knows_no_utf_8_gets_a_name_with_the_ending(client: FlaskClient) -> None:
    location = client.post("/files", query_string={"filename": "Отчёт.pdf"}, data=b"%PDF-1.7").headers["Location"]
    header = client.get(location).headers["Content-Disposition"]
    assert header == "attachment; filename=file.pdf; filename*=UTF-8''%D0%9E%D1%82%D1%87%D1%91%D1%82.pdf"


def test_a_text_in_utf_16_is_shown_as_what_it_is(client: FlaskClient) -> None:
    content = "Grüße".encode("utf-16")
    location = client.post("/files?filename=a.txt", data=content).headers["Location"]
    fetched = client.get(location)
    assert (fetched.data, fetched.content_type) == (content, "text/plain; charset=utf-16")


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


KEYS = {
    "mailer": new_key("mailer", "submit", ["email"]),
    "both": new_key("both", "submit", ["email", "generic"]),
    "generic": new_key("generic", "submit", ["generic"]),
    "all": new_key("all", "submit"),
}


class TestKeysForSomeTypes:
    @pytest.fixture
    def locked(self, settings: Settings, job_types: JobTypes) -> FlaskClient:
        keys = tuple(key for _, key in KEYS.values())
        return create_app(replace(settings, api_keys=keys), job_types).test_client()

    def readers(self, client: FlaskClient, filename: str) -> set[str]:
        """The keys that may read a file; to the others it does not exist."""
        answers = {name: client.get(f"/files/{filename}", headers=bearer(name)) for name in KEYS}
        for answer in answers.values():
            if answer.status_code != 200:
                assert problem(answer, 404)["type"] == "urn:problem:unknown-file"
        return {name for name, answer in answers.items() if answer.status_code == 200}

    @pytest.mark.parametrize(
        ("sender", "readers"),
        [
            ("mailer", {"mailer", "both", "all"}),
            ("generic", {"generic", "both", "all"}),
            ("both", {"both", "all"}),
            ("all", {"all"}),
        ],
    )
    def test_read_what_keys_for_their_types_upload(
        self, locked: FlaskClient, sender: str, readers: set[str]
    ) -> None:
        uploaded = locked.post("/files", data=b"x", headers=bearer(sender)).get_json()
        assert uploaded["task_types"] == (sorted(KEYS[sender][1].job_types or ()) or None)
        assert self.readers(locked, uploaded["filename"]) == readers

    def test_read_what_tasks_of_their_types_write(
        self, locked: FlaskClient, settings: Settings, redis: Redis
    ) -> None:
        written = open_files(settings, redis, "email").write(b"x", "email.eml", key="5c1f7c1e")
        assert self.readers(locked, written.filename) == {"mailer", "both", "all"}

    def test_do_not_read_mail_that_an_older_version_keeps_under_a_task_id(
        self, locked: FlaskClient, redis: Redis
    ) -> None:
        redis.set("tq:file:5c1f7c1e000000000000000000000000-email.eml", b"x", ex=100)
        assert self.readers(locked, "5c1f7c1e000000000000000000000000-email.eml") == {"all"}


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {KEYS[name][0]}"}
