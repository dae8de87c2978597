"""Fixtures of the job types' tests."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def project(whole_project: Path) -> Path:
    """The workers of these tests have all job types."""
    return whole_project
