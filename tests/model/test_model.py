"""The rules of the queue, held against the real scripts on a real Redis by a stateful property test.

`make test` plays the same examples each time. `make soak` plays new ones for SECONDS. A failure prints the steps,
and a line `@reproduce_failure(…)` that plays them again.
"""

import os
import random
import time

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.model.driver import Engine
from tests.model.machine import QueueMachine
from tests.model.machines import MACHINES

EXAMPLES = 25
SETTINGS = settings(
    max_examples=EXAMPLES, stateful_step_count=40, derandomize=True, deadline=None, database=None, print_blob=True,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
    # test_mutants.py wants to know whether a fault is found, not its shortest example.
    phases=[Phase.generate] if os.environ.get("MODEL_SHRINKS") == "no" else [Phase.generate, Phase.shrink],
)  # fmt: skip
SOAK_SECONDS = float(os.environ.get("MODEL_SECONDS", "30"))


@pytest.mark.parametrize("machine", MACHINES)
def test_whatever_happens_each_job_is_in_one_place_and_nothing_is_held_by_nobody(
    engine: Engine, machine: type[QueueMachine]
) -> None:
    run_state_machine_as_test(lambda: machine(engine), settings=SETTINGS)


@pytest.mark.slow
@pytest.mark.parametrize("machine", MACHINES)
def test_so_it_is_in_examples_that_nobody_has_played_before(engine: Engine, machine: type[QueueMachine]) -> None:
    end = time.monotonic() + SOAK_SECONDS / len(MACHINES)
    new_examples = settings(SETTINGS, derandomize=False, max_examples=20)
    while time.monotonic() < end:
        number = random.randrange(2**32)
        print(f"seed {number}")
        run_state_machine_as_test(seed(number)(lambda: machine(engine)), settings=new_examples)
