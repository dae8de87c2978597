"""The machines of the model's test: each plays some groups of rules together.

Fewer rules at a time meet rarer combinations.
"""

from tests.model.rules import Deaths, Dependents, Losses, Operators, Options, Pauses, RQTools, Work
from tests.model.rules_of_groups import Claims
from tests.model.rules_of_io import IO
from tests.model.rules_of_limits import LimitedTasks, Types


class Everything(
    Work, Deaths, Losses, Claims, Options, Dependents, LimitedTasks, Operators, Pauses, Types, RQTools
):
    """All rules."""


class LostAnswers(Work, Deaths, Losses):
    """Workers that die and connections that break."""


class Claiming(Work, Claims, Deaths, Losses):
    """Groups of short jobs, and claims that wait in Redis, while something dies."""


class Waiting(Work, Dependents):
    """Tasks that wait for others."""


class Changing(Work, Options, Operators):
    """Tasks with options, and people who change their mind."""


class Pausing(Work, Options, Pauses):
    """Queues that are paused, and ended tasks that are forgotten."""


class Limiting(Work, Deaths, LimitedTasks, Operators):
    """Limits, and all ways in which a place is freed."""


class ChangingTypes(Work, Deaths, Claims, LimitedTasks, Types):
    """Job types that are paused and whose limits change, also while groups of their jobs run."""


class InIOProcess(Work, IO, Losses):
    """An I/O process with many runs beside work-horses, while connections break and it dies."""


class InIOProcessWithDeaths(IO, Deaths, Operators, Types):
    """The same, while everything else dies, and people cancel, pause, and change limits."""


class BesideRQ(Work, Deaths, Operators, RQTools):
    """RQ's own code, while workers die and people cancel."""


MACHINES = (
    Everything, InIOProcess, InIOProcessWithDeaths, LostAnswers, Claiming, Waiting, Changing, Pausing, Limiting,
    ChangingTypes, BesideRQ,
)  # fmt: skip
