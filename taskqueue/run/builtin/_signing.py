"""How a callback is signed: Standard Webhooks, https://www.standardwebhooks.com.

The receiver makes the HMAC-SHA256 of `<webhook-id>.<webhook-timestamp>.<body>` with the same key, and compares.
"""

import base64
import binascii
import hmac
from dataclasses import dataclass
from typing import Self

from taskqueue.errors import InvalidSetting
from taskqueue.settings import Environment, text

PREFIX = "whsec_"
MIN_KEY_BYTES, MAX_KEY_BYTES = 24, 64


@dataclass(frozen=True)
class Signing:
    """The keys to sign with; none: callbacks are not signed."""

    keys: tuple[bytes, ...] = ()

    @classmethod
    def read(cls, env: Environment) -> Self:
        """From CALLBACK_SIGNING: one key, or two while they are exchanged. Raises `InvalidSetting`."""
        return cls(tuple(_key(word) for word in text(env, "CALLBACK_SIGNING", "").split()))

    def headers(self, message_id: str, seconds: int, body: bytes) -> dict[str, str]:
        """What goes with a body; `seconds` since 1970."""
        headers = {"webhook-id": message_id, "webhook-timestamp": str(seconds)}
        if self.keys:
            signed = f"{message_id}.{seconds}.".encode() + body
            headers["webhook-signature"] = " ".join(f"v1,{_signature(key, signed)}" for key in self.keys)
        return headers


def _signature(key: bytes, signed: bytes) -> str:
    return base64.b64encode(hmac.digest(key, signed, "sha256")).decode()


def _key(word: str) -> bytes:
    """One key. A message does not repeat it."""
    try:
        key = base64.b64decode(word.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if not word.startswith(PREFIX) or not MIN_KEY_BYTES <= len(key) <= MAX_KEY_BYTES:
        raise InvalidSetting(
            f"CALLBACK_SIGNING must be {PREFIX} and {MIN_KEY_BYTES} to {MAX_KEY_BYTES} bytes in base64:"
            f' echo "{PREFIX}$(openssl rand -base64 32)"'
        )
    return key
