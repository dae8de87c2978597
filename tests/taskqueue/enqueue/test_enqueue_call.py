"""The call of enqueue.lua: packed from a template for a plain task, and word by word for any other."""

from dataclasses import replace
from datetime import UTC, datetime

import hiredis
import pytest

from taskqueue.enqueue.options import DEFAULT_OPTIONS, SubmitOptions
from taskqueue.enqueue.queue import TaskQueue
from taskqueue.enqueue.submission import Submission
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.store.transaction import packed
from taskqueue.telemetry.trace import Trace, current_sender, current_trace

DIGEST = "0123456789" * 4


def words_of(call: bytes) -> list[bytes]:
    """Return the words of a packed command, which is nothing but those."""
    reader = hiredis.Reader()
    reader.feed(call)
    words = reader.gets()
    assert isinstance(words, list)
    assert not reader.has_data()
    return words


def prepared(queue: TaskQueue, type_name: str, options: SubmitOptions = DEFAULT_OPTIONS) -> Submission:
    return queue.submissions.prepare(queue.job_types.find(type_name), {"name": "Zoë 100%"}, options)


@pytest.mark.parametrize("options", [DEFAULT_OPTIONS, SubmitOptions(), SubmitOptions(tags=("a",), delay=60)])
@pytest.mark.parametrize("trace", [None, Trace("100%b"), Trace("request", f"00-{'a' * 32}-{'b' * 16}-01")])
@pytest.mark.parametrize("sender", ["", "büro"])
def test_the_packed_call_has_the_scripts_words(
    request: pytest.FixtureRequest, queue: TaskQueue, options: SubmitOptions, trace: Trace | None, sender: str
) -> None:
    tokens = current_trace.set(trace), current_sender.set(sender)
    request.addfinalizer(lambda: (current_trace.reset(tokens[0]), current_sender.reset(tokens[1])))
    for _ in range(2):  # the second time, the template is there
        call = prepared(queue, "generic", options).call
        assert call.is_plain == (options is DEFAULT_OPTIONS)
        assert call.packed(DIGEST) == packed("EVALSHA", DIGEST, len(call.keys), *call.keys, *call.arguments)
        words = words_of(call.packed(DIGEST))
        fields = dict(zip(words[-len(call.own) * 2 :: 2], words[-len(call.own) * 2 + 1 :: 2], strict=True))
        assert fields.get(b"tq:trace", b"") == (trace.text().encode() if trace else b"")
        assert fields.get(b"tq:by", b"") == sender.encode()


def test_a_job_type_that_is_registered_again_has_a_template_of_its_own(
    queue: TaskQueue, job_types: JobTypes
) -> None:
    assert b"180" in words_of(prepared(queue, "generic").call.packed(DIGEST))
    generic = job_types["generic"]
    job_types["generic"] = replace(generic, timeout=7)
    try:
        words = words_of(prepared(queue, "generic").call.packed(DIGEST))
    finally:
        job_types["generic"] = generic
    assert words[words.index(b"timeout") + 1] == b"7"


def test_the_time_of_creation_is_one_and_the_same(queue: TaskQueue) -> None:
    submission = prepared(queue, "generic")
    micro = (submission.created_at - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1e6
    words = words_of(submission.call.packed(DIGEST))
    assert words[8:10] == [submission.id.encode(), b"%d" % round(micro)]
    written = words[words.index(b"created_at") + 1]
    assert written == words[words.index(b"enqueued_at") + 1]
    assert datetime.fromisoformat(written.decode()) == submission.created_at
