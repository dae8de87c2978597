"""The ids of tasks: UUIDs, as the OpenAPI document says."""

from uuid import RFC_4122, UUID

from taskqueue.enqueue.task_id import new_task_id


def test_an_id_is_a_random_uuid_in_its_usual_form() -> None:
    ids = [UUID(task_id) for task_id in (new_task_id() for _ in range(1000)) if str(UUID(task_id)) == task_id]
    assert {(of_task.version, of_task.variant) for of_task in ids} == {(4, RFC_4122)}
    assert len(set(ids)) == 1000
