"""The workflow for kindling, expanded like GitHub and kindling do, checked against the operator's schema."""

import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from taskqueue.jobtypes.registry import JobTypes
from taskqueue.settings import Settings
from tests.conftest import ROOT, free_port, wait_until
from web import create_app

WORKFLOW = ROOT / ".github" / "workflows" / "dev-deploy.yml"
KINDLING = yaml.safe_load((ROOT / "tests" / "deploy" / "kindling.yaml").read_text())
JOB = yaml.safe_load(WORKFLOW.read_text())["jobs"]["deploy"]
BOTH = ["ada-l-task-api", "ada-l-task-worker"]
SHA = "4f1c" * 10

Objects = dict[str, dict[str, Any]]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A clone as the runner has it."""
    folder = tmp_path / "checkout"
    subprocess.run(["git", "init", "-q", folder], check=True)
    return folder


@pytest.fixture
def plan(checkout: Path, tmp_path: Path) -> Callable[[str], subprocess.CompletedProcess[str]]:
    """Run the workflow's step that reads the mark, on a commit with the given message."""

    def run(message: str) -> subprocess.CompletedProcess[str]:
        identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com"]
        commit = ["git", *identity, "commit", "-q", "--allow-empty", "-m", message]
        subprocess.run(commit, cwd=checkout, check=True)
        [step] = [step for step in JOB["steps"] if step.get("id") == "plan"]
        (tmp_path / "output").write_text("")
        env = os.environ | {"GITHUB_ACTOR": "Ada-L", "GITHUB_OUTPUT": str(tmp_path / "output")}
        return subprocess.run(
            ["bash", "-eo", "pipefail", "-c", step["run"]],
            cwd=checkout,
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture
def deploy(
    plan: Callable[[str], subprocess.CompletedProcess[str]], tmp_path: Path
) -> Callable[[str], tuple[list[dict[str, str]], Objects]]:
    """Return the builds and the Kubernetes objects, by their names, of a commit with the given message."""

    def run(message: str) -> tuple[list[dict[str, str]], Objects]:
        assert plan(message).returncode == 0
        values = {"github.actor": "Ada-L", "github.sha": SHA, "github.workspace": str(ROOT)}
        for line in (tmp_path / "output").read_text().splitlines():
            name, _, value = line.partition("=")
            values[f"steps.plan.outputs.{name}"] = value
        builds, objects = [], {}
        for step in JOB["steps"]:
            if not is_wanted(step.get("if"), values) or "kindling" not in step.get("uses", ""):
                continue
            inputs = {key: expanded(value, values) for key, value in step["with"].items()}
            action = KINDLING["actions"][step["uses"]]
            assert set(action["required"]) <= set(inputs) <= {*action["required"], *action["optional"]}
            if "kindling-build" in step["uses"]:
                builds.append(inputs)
            else:
                objects[inputs["name"]] = object_of(inputs)
        return builds, objects

    return run


def expanded(text: str, values: dict[str, str]) -> str:
    """Replace each `${{ … }}` as GitHub does; an unknown name fails the test."""
    return re.sub(r"\$\{\{ *([\w.-]+) *\}\}", lambda match: values[match[1]], text)


def is_wanted(condition: str | None, values: dict[str, str]) -> bool:
    """Return whether a step's `if` holds. GitHub reads an output that was not set as the empty string."""
    if condition is None:
        return True
    comparison = re.fullmatch(r"([\w.-]+) == '(\w+)'", condition)
    assert comparison, condition
    return values.get(comparison[1], "") == comparison[2]


def object_of(inputs: dict[str, str]) -> dict[str, Any]:
    """Return the object that the deploy action applies: like the action, paste the inputs into YAML."""
    get = inputs.get
    lines = [
        "apiVersion: apps.example.com/v1alpha1",
        "kind: DevStagingEnvironment",
        "metadata:",
        f"  name: {inputs['name']}",
        "spec:",
        "  deployment:",
        f"    image: {inputs['image']}",
        f"    replicas: {get('replicas', '1')}",
        f"    port: {inputs['port']}",
    ]
    if (kind := get("health-check-type", "http")) != "none":
        lines += ["    healthCheck:", f"      type: {kind}"]
        lines += [f"      path: {get('health-check-path', '/healthz')}"] if kind == "http" else []
    if env := get("env"):
        lines += ["    env:", *(f"      {line}" for line in env.splitlines())]
    lines += ["  service:", f"    port: {inputs['port']}", f"    type: {get('service-type', 'ClusterIP')}"]
    if host := get("ingress-host"):
        lines += ["  ingress:", "    enabled: true", f"    host: {host}"]
        lines += [f"    ingressClassName: {get('ingress-class', 'traefik')}"]
    if dependencies := get("dependencies"):
        lines += ["  dependencies:", *(f"    {line}" for line in dependencies.splitlines())]
    made: dict[str, Any] = yaml.safe_load("\n".join(lines))
    return made


def variables(made: dict[str, Any]) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in made["spec"]["deployment"].get("env", [])}


Deploy = Callable[[str], tuple[list[dict[str, str]], Objects]]


def test_the_operator_takes_both_objects(deploy: Deploy) -> None:
    _, objects = deploy("Add a job type")
    assert list(objects) == BOTH
    for made in objects.values():
        Draft202012Validator(KINDLING["schema"]).validate(made)


def test_both_services_use_one_redis_which_the_web_server_declares(deploy: Deploy) -> None:
    _, objects = deploy("Add a job type")
    web, worker = (objects[name] for name in BOTH)
    assert web["spec"]["dependencies"] == [{"type": "redis", "envVarName": "TASK_QUEUE_URL"}]
    assert "dependencies" not in worker["spec"]
    # The operator calls a service's Redis after the service.
    assert variables(worker)["TASK_QUEUE_URL"] == f"redis://{web['metadata']['name']}-redis:6379/0"
    assert "TASK_QUEUE_URL" not in variables(web)


def test_the_api_is_at_the_address_that_the_guide_names(deploy: Deploy) -> None:
    _, objects = deploy("Add a job type")
    assert objects[BOTH[0]]["spec"]["ingress"]["host"] == "ada-l-tasks.localhost"
    assert "ingress" not in objects[BOTH[1]]["spec"]
    readme = (ROOT / "README.md").read_text()
    assert "<http://you-tasks.localhost>" in readme
    assert "task-api.localhost" not in readme


def test_what_is_built_is_what_is_deployed_from_dockerfiles_that_are_there(deploy: Deploy) -> None:
    builds, objects = deploy("Add a job type")
    assert [build["image"] for build in builds] == [
        made["spec"]["deployment"]["image"] for made in objects.values()
    ]
    for build in builds:
        assert build["context"] == str(ROOT)
        assert (ROOT / build["dockerfile"]).is_file()


@pytest.mark.parametrize(
    ("mark", "names"),
    [
        ("", BOTH),
        ("\n\n[kindling:task-worker]", BOTH[1:]),
        ("\n\n[kindling:task-api]", BOTH[:1]),
        ("\n\n[kindling:task-api,task-worker]", BOTH),
    ],
)
def test_the_mark_of_kindling_push_chooses_the_services(deploy: Deploy, mark: str, names: list[str]) -> None:
    builds, objects = deploy("Add a job type" + mark)
    assert list(objects) == names
    assert len(builds) == len(names)


def test_a_mark_that_names_no_service_is_refused(
    plan: Callable[[str], subprocess.CompletedProcess[str]],
) -> None:
    done = plan("Add a job type\n\n[kindling:worker]")
    assert done.returncode == 1
    assert "[kindling:worker] names no service of this workflow: task-api, task-worker" in done.stdout


def test_the_web_server_answers_its_probe_on_its_port_without_redis(deploy: Deploy, job_types: JobTypes) -> None:
    made = deploy("Add a job type")[1][BOTH[0]]["spec"]["deployment"]
    assert f"[::]:{made['port']}" in (ROOT / "Dockerfile.web").read_text()
    app = create_app(Settings(redis_url=f"redis://127.0.0.1:{free_port()}/0"), job_types)
    assert app.test_client().get(made["healthCheck"]["path"]).status_code == 200


def test_the_worker_answers_its_probe_on_its_port_before_redis_comes(deploy: Deploy) -> None:
    made = deploy("Add a job type")[1][BOTH[1]]
    given = variables(made)
    assert given["WORKER_PORT"] == str(made["spec"]["deployment"]["port"])
    port = free_port()
    redis = f"redis://127.0.0.1:{free_port()}/0"
    env = os.environ | given | {"WORKER_PORT": str(port), "TASK_QUEUE_URL": redis}
    worker = subprocess.Popen([sys.executable, "worker.py"], cwd=ROOT, env=env)
    try:
        url = f"http://127.0.0.1:{port}{made['spec']['deployment']['healthCheck']['path']}"
        wait_until(lambda: status_of(url) == 200, what="the probe to be answered")
        worker.terminate()
        assert worker.wait(30) == 0
    finally:
        worker.kill()
        worker.wait()


def status_of(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return int(answer.status)
    except OSError:
        return 0
