"""Builds the images once. Other images are pulled, or built from Debian's packages where nothing can be pulled."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT, missing
from tests.images.docker import docker
from tests.test_readme import add_the_job_type

HERE = Path(__file__).parent
STAND_INS = {"redis:8-alpine": "redis.Dockerfile", "axllent/mailpit:v1.27": "mail.Dockerfile"}


def runs(*arguments: str) -> bool:
    return subprocess.run(["docker", *arguments], capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="session", autouse=True)
def engine() -> None:
    """A Docker engine."""
    if not (shutil.which("docker") and runs("info")):
        missing("A Docker engine (docker info)")


@pytest.fixture(scope="session")
def others(engine: None) -> None:
    """The images of Redis and of the mail catcher."""
    for image, dockerfile in STAND_INS.items():
        if not (runs("image", "inspect", image) or runs("pull", image)):
            docker("build", "-t", image, "-f", str(HERE / dockerfile), str(HERE))


@pytest.fixture(scope="session")
def images(engine: None) -> None:
    """`task-api` and `task-worker`, as the README builds them."""
    docker("build", "-f", "Dockerfile.web", "-t", "task-api", ".", cwd=str(ROOT))
    docker("build", "-f", "Dockerfile.worker", "-t", "task-worker", ".", cwd=str(ROOT))


@pytest.fixture(scope="session")
def test_images(images: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Images with the tests' job types: "web", "worker", and "new worker" with newer code."""
    context = tmp_path_factory.mktemp("images")
    (context / "jobs").mkdir()
    shutil.copy(HERE / "long.py", context / "jobs")
    add_the_job_type(context)
    made = {"web": ("task-api", "old"), "worker": ("task-worker", "old"), "new worker": ("task-worker", "new")}
    tags = {}
    for name, (image, code) in made.items():
        tags[name] = f"{image}-test:{code}"
        with_arguments = ("--build-arg", f"IMAGE={image}", "--build-arg", f"CODE={code}", "-t", tags[name])
        docker("build", *with_arguments, "-f", str(HERE / "test.Dockerfile"), str(context))
    yield tags
    docker("rmi", "-f", *tags.values())
