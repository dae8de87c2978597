"""The call of enqueue.lua that queues one task: store/lua/enqueue.lua says what its words mean.

Most of the forty words of a plain task, one without options, are those of every plain task of its type. They are
packed once, with places for its own words: so the call is made in a third of the time, and the task begins sooner.
"""

from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

from taskqueue.enqueue.job_fields import Fields, shared_fields
from taskqueue.enqueue.options import SubmitOptions
from taskqueue.jobtypes.registry import JobType
from taskqueue.settings import Settings
from taskqueue.store.keys import INDEX, QUEUES, job_key, queue_key, tag_index_key, type_index_key
from taskqueue.store.scripts import Word
from taskqueue.store.transaction import packed

PLACE = b"$%d\r\n%b\r\n"  # of a word: its length in bytes, and the word


class Alike:
    """What tasks of one job type with the same options have in common."""

    def __init__(self, job_type: JobType, options: SubmitOptions, queue: str, settings: Settings) -> None:
        self.job_type = job_type
        tags = map(tag_index_key, options.tags)
        self.keys = [queue_key(queue), QUEUES, INDEX, type_index_key(job_type.name), *tags]
        self.fields = list[Word](chain.from_iterable(shared_fields(job_type, options, settings).items()))
        self._templates: dict[tuple[str, ...], bytes] = {}  # by the names of the fields that are a task's own

    def template(self, own: Fields) -> bytes:
        """Return the packed call of a plain task with these fields of its own, as the format of `bytes % values`.

        The values are a length and a word for each: digest, key, id, time of creation, and the own fields.
        """
        names = tuple(own)
        template = self._templates.get(names)
        if template is None:
            count = 3 + 1 + len(self.keys) + 3 + len(self.fields) + 2 * len(names)
            parts = [b"*%d\r\n" % count, _fixed("EVALSHA"), PLACE, _fixed(1 + len(self.keys)), PLACE]
            parts += [_fixed(*self.keys), PLACE, PLACE, _fixed(0, *self.fields)]
            for name in names:
                parts += [_fixed(name), PLACE]
            template = self._templates[names] = b"".join(parts)
        return template


def _fixed(*words: Word) -> bytes:
    """Return words as a part of a template."""
    return packed(*words).partition(b"\r\n")[2].replace(b"%", b"%%")


class EnqueueCall(NamedTuple):
    """One call of enqueue.lua; store/scripts.py sends it."""

    task_id: str
    created: int  # microseconds since 1970
    options: Sequence[Word]  # name, value, name, value …
    alike: Alike
    own: Fields  # the fields of the job's hash that are not `alike`
    is_plain: bool  # without options, and its `alike` is kept for the next one

    @property
    def keys(self) -> list[str]:
        """The script's KEYS."""
        return [job_key(self.task_id), *self.alike.keys]

    @property
    def arguments(self) -> list[Word]:
        """The script's ARGV."""
        own = chain.from_iterable(self.own.items())
        return [self.task_id, self.created, len(self.options), *self.options, *self.alike.fields, *own]

    def packed(self, digest: str) -> bytes:
        """Return the call in the form in which Redis reads it. `digest`: the script's name in Redis."""
        if not self.is_plain:
            keys = self.keys
            return packed("EVALSHA", digest, len(keys), *keys, *self.arguments)
        values: list[int | bytes] = []
        for word in (digest, job_key(self.task_id), self.task_id, str(self.created), *self.own.values()):
            value = word if isinstance(word, bytes) else str(word).encode()
            values += (len(value), value)
        return self.alike.template(self.own) % tuple(values)
