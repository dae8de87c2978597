"""Signs callbacks by Standard Webhooks, https://www.standardwebhooks.com.

A receiver checks a callback with any of the specification's libraries and the key in CALLBACK_SIGNING.
"""

import base64
import binascii
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from standardwebhooks import Webhook

from taskqueue.errors import InvalidSetting
from taskqueue.settings import Environment, text

PREFIX = "whsec_"
MIN_KEY_BYTES, MAX_KEY_BYTES = 24, 64


@dataclass(frozen=True)
class Signing:
    """The keys that sign callbacks; without keys callbacks are not signed."""

    keys: tuple[Webhook, ...] = ()

    @classmethod
    def read(cls, env: Environment) -> Self:
        """Read CALLBACK_SIGNING: one key, or two while they are exchanged. Raises `InvalidSetting`."""
        return cls(tuple(_key(word) for word in text(env, "CALLBACK_SIGNING", "").split()))

    def headers(self, message_id: str, at: datetime, body: bytes) -> dict[str, str]:
        """Return the headers of a callback that is sent at this time, in UTC; `body` is UTF-8."""
        headers = {"webhook-id": message_id, "webhook-timestamp": str(int(at.timestamp()))}
        if self.keys:
            signatures = [key.sign(message_id, at, body.decode()) for key in self.keys]
            headers["webhook-signature"] = " ".join(signatures)
        return headers


def _key(word: str) -> Webhook:
    """Read one key. The error message does not repeat it."""
    try:
        key = base64.b64decode(word.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if not word.startswith(PREFIX) or not MIN_KEY_BYTES <= len(key) <= MAX_KEY_BYTES:
        raise InvalidSetting(
            f"CALLBACK_SIGNING must be {PREFIX} and {MIN_KEY_BYTES} to {MAX_KEY_BYTES} bytes in base64:"
            f' echo "{PREFIX}$(openssl rand -base64 32)"'
        )
    return Webhook(key)
