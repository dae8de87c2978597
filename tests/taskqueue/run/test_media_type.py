"""The media types of stored files."""

import pytest

from taskqueue.run.media_type import content_type


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "image/png"),
        (b"%PDF-1.7", "application/pdf"),
        (b"<!DOCTYPE html><p>", "text/html"),
        ("Grüße".encode(), "text/plain"),
        (b"\x00\xff\xfe\x01", "application/octet-stream"),
        (b"", "text/plain"),
    ],
)
def test_the_type_is_what_the_content_shows(content: bytes, kind: str) -> None:
    assert content_type(content) == kind


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("a.zip", b"PK\x03\x04xx", "application/zip"),
        ("a.xlsx", b"PK\x03\x04xx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
        ("a.pptx", b"PK\x03\x04xx", "application/vnd.openxmlformats-officedocument.presentationml.presentation"),
        ("a.odt", b"PK\x03\x04xx", "application/vnd.oasis.opendocument.text"),
        ("a.jar", b"PK\x03\x04xx", "application/java-archive"),
        ("a.pdf", b"PK\x03\x04xx", "application/zip"),
        ("cars.csv", b"BMW,1\n", "text/csv"),
        ("P1.csv", b"P1,late\n", "text/csv"),
        ("ids.csv", b"ID;name\n1;a\n", "text/csv"),
        ("city.csv", b"CITY,1\n", "text/csv"),
        ("00.csv", b"00123,screw\n", "text/csv"),
        ("latin.csv", b"M\xfcller\n", "text/csv"),
        ("(a).txt", b"(a) first\n", "text/plain"),
        ("from.txt", b"From: a\nTo: b\n", "text/plain"),
        ("old.eml", b"From: a\nTo: b\n", "message/rfc822"),
        ("utf16.csv", "a,b".encode("utf-16"), "text/csv"),
        ("utf16.txt", "a,b".encode("utf-16"), "text/plain; charset=utf-16"),
        ("utf16.txt", b"\xfe\xff\x00a\x00,", "text/plain; charset=utf-16"),
        ("cut.txt", b"\xff\xfea\x00b", "application/octet-stream"),
        ("Отчёт.xlsx", b"PK\x03\x04xx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
        ("a.txt", b"%PDF-1.7", "application/pdf"),
        ("a.pdf", b"%PDF-1.7", "application/pdf"),
        ("a.png", b"<!DOCTYPE html><p>", "text/html"),
        ("a.png", b"just words", "text/plain"),
        ("a.csv", b"\x89PNG\r\n\x1a\n" + bytes(50), "image/png"),
        ("a.png", b"\x00\xff\xfe\x01", "application/octet-stream"),
    ],
)
def test_the_ending_decides_what_the_content_leaves_open(name: str, content: bytes, kind: str) -> None:
    assert content_type(content, name) == kind
