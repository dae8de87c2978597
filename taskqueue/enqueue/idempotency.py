"""The Idempotency-Key header: a request that a client sends twice takes effect once.

https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/
"""

from dataclasses import dataclass
from hashlib import sha256

from taskqueue.store.keys import idempotency_record_key

RECORD_SECONDS = 86_400  # a client that tries again a day later no longer has its key


@dataclass(frozen=True)
class IdempotencyKey:
    """A caller's key, and the request that it belongs to."""

    record: str  # the Redis key of the stored answer
    fingerprint: str  # a digest of the whole request

    @classmethod
    def of(cls, key: str, caller: bytes, fingerprint: str) -> "IdempotencyKey":
        """Return the key that one caller gave to one request; two callers may use the same text."""
        record = sha256(caller + b"\0" + key.encode()).hexdigest()
        return cls(idempotency_record_key(record), fingerprint)
