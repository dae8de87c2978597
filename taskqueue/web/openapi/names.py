"""The names of schemas in the API document."""

from pydantic.json_schema import GenerateJsonSchema

from taskqueue.control.failed_tasks import Group
from taskqueue.enqueue.batch import Batch
from taskqueue.enqueue.options import TaskSpec
from taskqueue.monitor.cluster_state import QueueView, TaskCounts, WorkerView
from taskqueue.run.files import StoredFile
from taskqueue.tasks.log_lines import StoredLine
from taskqueue.tasks.task import ProgressJson
from taskqueue.tasks.task_filter import Summary

NAMES = {
    QueueView: "QueueJson",
    TaskCounts: "CountsJson",
    WorkerView: "WorkerJson",
    Summary: "SummaryJson",
    ProgressJson: "ProgressJson",
    Group: "GroupJson",
    Batch: "BatchJson",
    TaskSpec: "PlainTask",
    StoredLine: "LineJson",
    StoredFile: "FileJson",
}
"""The names of the library's own types in the document: clients are generated from it, so they do not change."""
_NAMES = {kind.__name__: name for kind, name in NAMES.items()}


class NamedSchemas(GenerateJsonSchema):
    """JSON Schemas under the names of NAMES."""

    def normalize_name(self, name: str) -> str:
        """Return the name of a schema in the document."""
        return super().normalize_name(_NAMES.get(name, name))
