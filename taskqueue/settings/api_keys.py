"""API keys: who may call the API, for what, and for which task types. Only a key's hash is ever configured.

API_KEYS holds one entry for each key, separated by white space, or the path of a file with them (`#` begins a
comment):

    shop:submit:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
    mailer:submit:60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752:email,newsletter
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from taskqueue.errors import InvalidSetting

Scope = Literal["read", "submit", "operate"]
"""What a key allows. Each scope includes those before it."""

SCOPES: tuple[Scope, ...] = get_args(Scope)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
DIGEST = re.compile(r"[0-9a-f]{64}")
PREFIX = "tq_"  # by which people, and programs that look for leaked keys, recognise a key
KEY_BYTES = 32


@dataclass(frozen=True)
class ApiKey:
    """An API key: its name, its scope, its hash, and the task types that it is limited to."""

    name: str
    scope: Scope
    digest: str
    job_types: frozenset[str] | None = None  # None: every type

    def may(self, scope: Scope) -> bool:
        """Return whether the key has this scope, or one that includes it."""
        return SCOPES.index(scope) <= SCOPES.index(self.scope)

    def sees(self, job_type: str) -> bool:
        """Return whether the key may submit and see tasks of this type."""
        return self.job_types is None or job_type in self.job_types

    def entry(self) -> str:
        """Return the entry of API_KEYS for this key."""
        types = [",".join(sorted(self.job_types))] if self.job_types else []
        return ":".join([self.name, self.scope, self.digest, *types])


def new_key(name: str, scope: Scope, job_types: Iterable[str] = ()) -> tuple[str, ApiKey]:
    """Return a new secret, and the key to configure for it. Raises `InvalidSetting` for a bad name or scope."""
    if not NAME.fullmatch(name):
        raise InvalidSetting(f"The name of a key must be letters, digits, . _ -, got {name!r}")
    secret = PREFIX + secrets.token_urlsafe(KEY_BYTES)
    key = ApiKey(name, scope, _digest(secret), frozenset(job_types) or None)
    return secret, _read_entry(key.entry())


def find_key(keys: Iterable[ApiKey], secret: str) -> ApiKey | None:
    """Return the key with this secret; None if there is none.

    Every hash is compared, so the time it takes does not show how much of the secret was right.
    """
    digest, match = _digest(secret), None
    for key in keys:
        if hmac.compare_digest(key.digest, digest):
            match = key
    return match


def _digest(secret: str) -> str:
    # A fast hash is enough: there are 2**256 keys to try, and no dictionary as for passwords.
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()


def read_keys(value: str | None) -> tuple[ApiKey, ...]:
    """Return the keys that API_KEYS, or the file that it names, lists. Raises `InvalidSetting`."""
    if value is None:
        return ()
    if value.startswith("/"):
        value = _without_comments(Path(value))
    keys = tuple(_read_entry(entry) for entry in value.split())
    if not keys:
        raise InvalidSetting("API_KEYS names no key, so nobody could call. Unset it to open the API to everybody")
    names = [key.name for key in keys]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise InvalidSetting(f"API_KEYS names {twice!r} twice; give one of the two another name")
    return keys


def _without_comments(file: Path) -> str:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise InvalidSetting(f"API_KEYS names a file that cannot be read: {error}") from None
    return "\n".join(line.partition("#")[0] for line in lines)


def _read_entry(entry: str) -> ApiKey:
    """Read one entry. A message repeats only its name: somebody may have put the secret where its hash belongs."""
    parts = entry.split(":")
    if not 3 <= len(parts) <= 4 or not NAME.fullmatch(parts[0]):
        raise InvalidSetting(
            "API_KEYS must be entries NAME:SCOPE:HASH or NAME:SCOPE:HASH:TYPE,TYPE with spaces between"
        )
    name, scope, digest, *types = parts
    if scope not in SCOPES:
        raise InvalidSetting(f"API_KEYS: the scope of {name!r} must be one of {', '.join(SCOPES)}")
    if not DIGEST.fullmatch(digest):
        fix = f"make one with `python -m taskqueue key {name}`"
        raise InvalidSetting(f"API_KEYS: the hash of {name!r} must be 64 hexadecimal digits; {fix}")
    job_types = frozenset(types[0].split(",")) if types else None
    if job_types and "" in job_types:
        raise InvalidSetting(f"API_KEYS: {name!r} must end in task types with commas between them, or in its hash")
    return ApiKey(name, scope, digest, job_types)
