"""A request that is sent twice is done once: what the Idempotency-Key header asks for.

https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/
"""

from dataclasses import dataclass
from hashlib import sha256

from taskqueue.store.keys import idempotency_record_key

RECORD_SECONDS = 86_400  # a client that tries again the next day has forgotten its key


@dataclass(frozen=True)
class IdempotencyKey:
    """A caller's key, and what it stands for."""

    record: str  # the key in Redis of what was answered
    fingerprint: str  # of all that was asked

    @classmethod
    def of(cls, key: str, caller: bytes, fingerprint: str) -> "IdempotencyKey":
        """The key that one caller gave to one request: nobody else's, whatever they call theirs."""
        record = sha256(caller + b"\0" + key.encode()).hexdigest()
        return cls(idempotency_record_key(record), fingerprint)
