"""Names of files: the name that people see, and the filename in the store, which nobody can guess."""

import re

FILENAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
MAX_NAME_BYTES = 255  # of the name that people see: as many as file systems allow
MAX_ENDING_BYTES = 32  # kept where a name is too long
MAX_READABLE_CHARACTERS = 80  # of the name in a filename
# Control characters, line separators, halves of characters; and what reverses the order in which a name is shown
# (Unicode Technical Report 36, 3.2): with U+202E, "invoice\u202efdp.exe" looks like a PDF.
REMOVED = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\u202a-\u202e\u2066-\u2069]")


def shown_name(name: str) -> str:
    """Return the name of a file as it is kept and shown: without a path, and without characters that deceive.

    Any script is kept exactly. A name of more than MAX_NAME_BYTES loses its middle, not its ending.
    """
    name = REMOVED.sub("", re.split(r"[/\\]", name)[-1])
    if not name.strip(". "):
        return "file"
    if len(name.encode()) > MAX_NAME_BYTES:
        stem, dot, ending = name.rpartition(".")
        ending = _cut(dot + ending, MAX_ENDING_BYTES) if stem else ""
        name = _cut(stem or name, MAX_NAME_BYTES - len(ending.encode())) + ending
    return name


def _cut(text: str, max_bytes: int) -> str:
    return text.encode()[:max_bytes].decode(errors="ignore")


def filename(secret: str, name: str) -> str:
    """Return the filename in the store: the secret, and in ASCII what people recognise the file by."""
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", name)
    if re.fullmatch(r"[-.]*\.[A-Za-z0-9]+", readable):  # a name without a letter in ASCII keeps what it ends in
        readable = f"file{readable[readable.rindex('.') :]}"
    return f"{secret}-{readable.strip('-.')[-MAX_READABLE_CHARACTERS:] or 'file'}"


def name_in(filename: str) -> str:
    """Return what a filename tells of the name: files that were stored by an older version have nothing else."""
    return filename.partition("-")[2] or filename
