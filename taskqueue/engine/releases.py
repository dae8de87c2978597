"""Lets jobs go on that a limit of their type has held (limits.lua), where nothing else does: see release.lua."""

from importlib.resources import files as package_files

from redis import Redis
from rq.defaults import RQ_KEY_PREFIX

from taskqueue.engine.turn import moment
from taskqueue.limits import LIMITED_TYPES


class Releases:
    """The script on a connection."""

    def __init__(self, connection: Redis) -> None:
        folder = package_files("taskqueue.engine")
        source = "".join(folder.joinpath(name).read_text() for name in ("limits.lua", "release.lua"))
        self._script = connection.register_script(source)

    def release(self) -> None:
        """Give the places that are free now to those that are held. Raises the driver's errors."""
        self._script(keys=[LIMITED_TYPES], args=[RQ_KEY_PREFIX, moment()])
