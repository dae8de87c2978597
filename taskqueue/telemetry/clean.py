"""Makes text of clients and jobs harmless for logs and terminals."""


def clean(text: str) -> str:
    """Return text as one line without control characters, which a terminal would obey."""
    return "".join(char if char.isprintable() else "\ufffd" for char in " ".join(text.splitlines()).expandtabs())
