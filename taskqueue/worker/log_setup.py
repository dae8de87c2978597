"""Puts the logging of a work-horse back after a job that has configured it, as set-up code of libraries does."""

import logging
from typing import Any

log = logging.getLogger(__name__)  # an example: dictConfig disables all loggers that exist


class LogSetup:
    """The configuration of logging when this object was made: the root logger, and which loggers are disabled."""

    def __init__(self) -> None:
        self._root = logging.getLogger()
        self._state = self._read()
        self._handlers = [(handler, handler.level, handler.formatter) for handler in self._root.handlers]
        self._loggers = {
            name: (logger.level, list(logger.handlers), logger.propagate, logger.disabled)
            for name, logger in _loggers().items()
        }

    def restore(self) -> None:
        """Put everything back, if a job has changed it. Most jobs do not: then this takes a microsecond."""
        if self._read() == self._state:
            return
        logging.disable(self._state[0])
        self._root.disabled = False
        self._root.setLevel(self._state[1])
        self._root.handlers[:] = [handler for handler, _, _ in self._handlers]
        for handler, level, formatter in self._handlers:
            handler.setLevel(level)
            handler.setFormatter(formatter)
        for name, logger in _loggers().items():
            if name in self._loggers:
                level, handlers, logger.propagate, logger.disabled = self._loggers[name]
                logger.setLevel(level)
                logger.handlers[:] = handlers
            else:
                logger.disabled = False  # of a module that a job has imported

    def _read(self) -> tuple[Any, ...]:
        root = self._root
        handlers = [(handler, handler.level, handler.formatter) for handler in root.handlers]
        return root.manager.disable, root.level, root.disabled, handlers, log.disabled, log.getEffectiveLevel()


def _loggers() -> dict[str, logging.Logger]:
    entries = dict(logging.root.manager.loggerDict)
    return {name: logger for name, logger in entries.items() if isinstance(logger, logging.Logger)}
