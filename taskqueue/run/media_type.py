"""Finds the media type of a file: from its content, and where that leaves it open, from its name."""

import codecs
import mimetypes
import re

import puremagic

SNIFFED_BYTES = 4096  # read to find the media type
ZIP_TYPES = re.compile(r"zip|java-archive|openxmlformats|opendocument|android\.package")
TEXT_TYPES = re.compile(r"^text/|json|xml$|javascript|^message/rfc822$|yaml|^application/(sql|x-sh|rtf)$")
CONTROL_CHARACTERS = re.compile(rb"[\x00-\x06\x0e-\x1a\x1c-\x1f\x7f]")  # that no text has


def content_type(content: bytes, name: str = "") -> str:
    """Return the media type that the content shows; the ending of `name` decides what the content leaves open."""
    by_name = mimetypes.guess_type(name)[0] or ""
    if content.startswith(b"PK\x03\x04"):  # many formats are a ZIP inside
        return by_name if ZIP_TYPES.search(by_name) else "application/zip"
    is_text = b"\0" not in content and not CONTROL_CHARACTERS.search(content)
    if is_text:
        return _text_type(content, by_name)
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) and by_name.startswith("text/"):
        return _utf16_type(content, by_name)
    return _magic_type(content) or "application/octet-stream"


def _utf16_type(content: bytes, by_name: str) -> str:
    try:
        content.decode("utf-16")
    except UnicodeDecodeError:
        return "application/octet-stream"
    # Programs show text/plain as UTF-8 unless it says otherwise.
    return "text/plain; charset=utf-16" if by_name == "text/plain" else by_name


def _text_type(content: bytes, by_name: str) -> str:
    """Return the type of a text. Ordinary words begin like some binary formats: BMW, P1, ID;, From:."""
    by_content = _magic_type(content, not_words=True)
    if by_content and not TEXT_TYPES.search(by_content):
        return by_content  # a PDF of ASCII characters
    if TEXT_TYPES.search(by_name):
        return by_name
    if by_content and not by_name:
        return by_content
    try:
        content.decode()
    except UnicodeDecodeError:
        return "application/octet-stream"
    return by_content if by_content == "text/html" else "text/plain"


def _magic_type(content: bytes, *, not_words: bool = False) -> str:
    try:
        matches = puremagic.magic_string(content[:SNIFFED_BYTES])
    except (puremagic.PureError, ValueError):  # an unknown format; an empty file
        return ""
    best = matches[0]
    mark = best.byte_match
    if not_words and len(mark) < 5 and (len(mark) < 4 or mark.isalnum()):
        return ""
    return str(best.mime_type).strip()
