"""Finds the job types: imports the modules and packages that JOBS names, so that `@job` registers theirs."""

import importlib
import logging
import pkgutil
import traceback
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from taskqueue.errors import InvalidJobType, InvalidSetting
from taskqueue.jobtypes.registry import SYSTEM, JobTypes, location, registered
from taskqueue.settings import ALL_BELOW, process_settings

log = logging.getLogger(__name__)


def discover(*places: str, queues: tuple[str, ...] | None = None) -> JobTypes:
    """Import all modules of `places`, and return the job types that they register.

    A place is a module (`myapp.tasks`), a package (`myapp.jobs`: what is directly in it), or a package with all
    packages below it (`myapp.jobs.**`). Without places, those of the setting JOBS are taken. Modules and packages
    whose name begins with "_" are skipped. If `queues` is given, each job type must name one of them.

    Raises `InvalidSetting` if there is no such module, `InvalidJobType`, and any error of importing a file
    unchanged.
    """
    for place in (SYSTEM, *(places or process_settings().jobs)):
        name = place.removesuffix(ALL_BELOW)
        module = _import_place(name)
        for inner in _modules(module, deep=name != place):
            _import(inner)
    for job_type in registered.values():
        if queues is not None and job_type.queue not in queues:
            raise InvalidJobType(
                f"{location(job_type.function)}: there is no queue {job_type.queue!r};"
                f" use one of {', '.join(queues)}, or add it to QUEUES"
            )
    log.debug("job types: %s", ", ".join(sorted(registered)))
    return registered


def _modules(module: ModuleType, *, deep: bool) -> Iterator[str]:
    """Yield the names of the modules of a package; if `deep`, also those of the packages below it."""
    for found in pkgutil.iter_modules(getattr(module, "__path__", ())):
        if found.name.startswith("_"):
            continue
        name = f"{module.__name__}.{found.name}"
        yield name
        if deep and found.ispkg:
            yield from _modules(importlib.import_module(name), deep=True)


def check_places(places: Iterable[str]) -> None:
    """Raise `InvalidSetting` if one of `places` does not exist. It imports none of them, only packages above."""
    for place in places:
        name = place.removesuffix(ALL_BELOW)
        try:
            found = find_spec(name)
        except ModuleNotFoundError as error:
            if _is_about(error, name):
                raise _missing(name) from None
            raise
        if found is None:
            raise _missing(name)


def _import_place(name: str) -> ModuleType:
    try:
        return _import(name)
    except ModuleNotFoundError as error:
        if _is_about(error, name):
            raise _missing(name) from None
        raise


def _is_about(error: ModuleNotFoundError, name: str) -> bool:
    """Return whether the module itself is missing, and not one that it imports."""
    return error.name is not None and f"{name}.".startswith(f"{error.name}.")


def _missing(name: str) -> InvalidSetting:
    return InvalidSetting(
        f"JOBS: there is no module {name!r} in {Path.cwd()} or among the installed packages; set JOBS (or --jobs)"
        " to the modules and packages with your job types, such as myapp.jobs"
    )


def _import(module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except SystemExit as error:  # it would end the program without a message
        last = traceback.extract_tb(error.__traceback__)[-1]
        raise InvalidJobType(
            f"{last.filename}:{last.lineno}: the import of {module} ends the program (exit code {error.code!r});"
            ' take that out, or put it behind `if __name__ == "__main__":`'
        ) from error
