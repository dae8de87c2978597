"""The manifests in deploy/kubernetes, checked against Kubernetes's own schemas and against our programs."""

import json
import re
import shutil
import subprocess
from functools import cache
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from flask import Flask
from jsonschema import Draft202012Validator

from taskqueue.jobtypes.registry import discover
from taskqueue.settings import Settings
from taskqueue.telemetry.counters import Tally
from taskqueue.telemetry.report import Report
from taskqueue.telemetry.worker_metrics import worker_metrics
from tests.conftest import ROOT, missing, wait_until
from web import create_app

FOLDER = ROOT / "deploy" / "kubernetes"
OVERLAYS = ("dev", "production")
OPERATORS = yaml.safe_load((ROOT / "tests" / "deploy" / "operators.yaml").read_text())
CORE = {"v1", "apps/v1", "policy/v1", "networking.k8s.io/v1"}
METRIC = re.compile(r"taskqueue_\w+")

Manifest = dict[str, Any]


@cache
def expanded(overlay: str) -> tuple[Manifest, ...]:
    """Return the manifests that `kubectl apply -k` would send."""
    if not shutil.which("kubectl"):
        missing("kubectl, which has kustomize in it,")
    command = ["kubectl", "kustomize", str(FOLDER / "overlays" / overlay)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


def manifest_of(overlay: str, kind: str, name: str) -> Manifest:
    (manifest,) = (
        manifest
        for manifest in expanded(overlay)
        if (manifest["kind"], manifest["metadata"]["name"]) == (kind, name)
    )
    return manifest


def pods(overlay: str) -> list[Manifest]:
    """Return the pod spec of each workload."""
    return [m["spec"]["template"]["spec"] for m in expanded(overlay) if m["kind"] in ("Deployment", "StatefulSet")]


@cache
def exported_metrics() -> frozenset[str]:
    """Return the names of all metrics that a worker exports."""
    tally = Tally()
    tally.add("email", "finished", 1, "high")
    tally.add_wait("email", 1, "high")
    exported = worker_metrics(Report(tally=tally.as_line()), 0.0).decode()
    names = frozenset(METRIC.findall(exported))
    return names | {name.replace("_worker_", "_") for name in names}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_kubernetes_takes_each_of_its_own_kinds(overlay: str) -> None:
    checked = [manifest for manifest in expanded(overlay) if manifest["apiVersion"] in CORE]
    for manifest in checked:
        kubernetes_validate.validate(manifest, "1.34", strict=True)
    assert {m["kind"] for m in checked} >= {"Deployment", "StatefulSet", "Service", "NetworkPolicy"}


def test_the_operators_take_each_of_their_kinds() -> None:
    theirs = [manifest for manifest in expanded("production") if manifest["apiVersion"] not in CORE]
    assert {manifest["kind"] for manifest in theirs} == set(OPERATORS["kinds"])
    for manifest in theirs:
        described = OPERATORS["kinds"][manifest["kind"]]
        assert manifest["apiVersion"] == described["apiVersion"]
        schema = {"definitions": OPERATORS["definitions"], "additionalProperties": False, **described["spec"]}
        Draft202012Validator(schema).validate(manifest["spec"])


def test_kubernetes_takes_the_behaviour_that_keda_hands_on() -> None:
    scaled = manifest_of("production", "ScaledObject", "task-worker")["spec"]
    spec = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", **scaled["scaleTargetRef"]},
        "minReplicas": scaled["minReplicaCount"],
        "maxReplicas": scaled["maxReplicaCount"],
        "behavior": scaled["advanced"]["horizontalPodAutoscalerConfig"]["behavior"],
    }
    scaler = {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "spec": spec}
    kubernetes_validate.validate(scaler, "1.34", strict=True)


def test_prometheus_finds_what_it_is_to_read() -> None:
    (port,) = manifest_of("production", "Service", "task-api")["spec"]["ports"]
    (container,) = manifest_of("production", "Deployment", "task-worker")["spec"]["template"]["spec"]["containers"]
    services = manifest_of("production", "ServiceMonitor", "task-api")["spec"]["endpoints"]
    workers = manifest_of("production", "PodMonitor", "task-worker")["spec"]["podMetricsEndpoints"]
    assert [endpoint["port"] for endpoint in services] == [port["name"]]
    assert {endpoint["port"] for endpoint in workers} <= {port["name"] for port in container["ports"]}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_pod_keeps_to_the_restricted_standard_and_says_what_it_needs(overlay: str) -> None:
    for pod in pods(overlay):
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        for container in pod["containers"]:
            own = container["securityContext"]
            assert own["readOnlyRootFilesystem"]
            assert own["allowPrivilegeEscalation"] is False
            assert own["capabilities"] == {"drop": ["ALL"]}
            assert set(container["resources"]["requests"]) == {"cpu", "memory"}
            assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_selector_finds_its_pods(overlay: str) -> None:
    labels = [
        m["spec"]["template"]["metadata"]["labels"] for m in expanded(overlay) if "template" in m.get("spec", {})
    ]
    for manifest in expanded(overlay):
        spec = manifest.get("spec", {})
        selector = {
            "Service": spec.get("selector"),
            "PodDisruptionBudget": spec.get("selector", {}).get("matchLabels"),
            "NetworkPolicy": spec.get("podSelector", {}).get("matchLabels"),
        }.get(manifest["kind"])
        if selector:
            assert any(selector.items() <= own.items() for own in labels), manifest["metadata"]["name"]


@pytest.mark.parametrize(
    ("address", "reached"),
    [
        ("169.254.169.254", False),  # the metadata service, which has the credentials of the node
        ("fd00:ec2::254", False),
        ("fd20:ce::254", False),
        ("169.254.20.10", True),  # NodeLocal DNSCache
        ("169.254.170.23", True),  # EKS Pod Identity
        ("fd00:ec2::23", True),
        ("10.96.0.10", True),
        ("2001:db8::1", True),
    ],
)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_pods_reach_name_servers_and_not_the_credentials_of_their_node(
    overlay: str, address: str, reached: bool
) -> None:
    for name in ("task-api", "task-worker"):
        (rule,) = manifest_of(overlay, "NetworkPolicy", name)["spec"]["egress"]
        assert "ports" not in rule
        blocks = [peer["ipBlock"] for peer in rule["to"]]
        assert any(is_in(block, address) for block in blocks) is reached


def is_in(block: dict[str, Any], address: str) -> bool:
    value = ip_address(address)
    left_out = any(value in ip_network(network) for network in block.get("except", []))
    return value in ip_network(block["cidr"]) and not left_out


def test_a_job_of_any_type_may_end_before_its_worker_does() -> None:
    grace = int(manifest_of("production", "ConfigMap", "task-settings")["data"]["GRACE_SECONDS"])
    pod = manifest_of("production", "Deployment", "task-worker")["spec"]["template"]["spec"]
    assert (
        max(job_type.timeout for job_type in discover().values()) <= grace < pod["terminationGracePeriodSeconds"]
    )


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_probes_ask_what_our_programs_serve(overlay: str, app: Flask) -> None:
    port = int(manifest_of(overlay, "ConfigMap", "task-settings")["data"]["WORKER_PORT"])
    for name in ("task-api", "task-worker"):
        (container,) = manifest_of(overlay, "Deployment", name)["spec"]["template"]["spec"]["containers"]
        paths = {
            container[probe]["httpGet"]["path"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")
        }
        assert paths == {"/healthz", "/readyz"}
        if name == "task-api":
            assert paths <= {rule.rule for rule in app.url_map.iter_rules()}
        else:
            assert container["ports"][0]["containerPort"] == port


def test_the_settings_are_settings() -> None:
    table = (ROOT / "README.md").read_text().partition("## Settings")[2].partition("\n## ")[0]
    for name in manifest_of("production", "ConfigMap", "task-settings")["data"]:
        assert f"`{name}`" in table
    data = manifest_of("dev", "Secret", "task-secrets")["data"]
    assert set(data) == {"REDIS_PASSWORD", "TASK_QUEUE_URL"}


def test_one_worker_always_stays_for_the_scheduler() -> None:
    scaled = manifest_of("production", "ScaledObject", "task-worker")["spec"]
    assert scaled["minReplicaCount"] >= 1
    assert scaled["scaleTargetRef"]["name"] == "task-worker"
    assert "replicas" not in manifest_of("production", "Deployment", "task-worker")["spec"]


def test_keda_alerts_and_the_dashboard_ask_for_metrics_that_are_exported(app: Flask) -> None:
    exported = exported_metrics() | set(METRIC.findall(app.test_client().get("/metrics").get_data(as_text=True)))
    for file in ("scaling/keda.yaml", "monitoring/alerts.yaml", "monitoring/dashboard.json"):
        asked = set(METRIC.findall((FOLDER / file).read_text()))
        assert asked
        assert asked <= exported, file
    assert json.loads((FOLDER / "monitoring" / "dashboard.json").read_text())["panels"]


def test_every_alert_has_its_line_in_the_runbook_and_every_line_its_alert() -> None:
    (rules,) = (manifest for manifest in expanded("production") if manifest["kind"] == "PrometheusRule")
    alerts = [rule for group in rules["spec"]["groups"] for rule in group["rules"]]
    headings = re.findall(r"^## (\w+)$", (ROOT / "docs" / "runbook.md").read_text(), re.MULTILINE)
    assert [alert["alert"] for alert in alerts] == headings
    for alert in alerts:
        assert alert["annotations"]["runbook"] == f"docs/runbook.md#{alert['alert'].lower()}"


@pytest.fixture
def app(settings: Settings) -> Flask:
    return create_app(settings, discover())


def test_the_arguments_of_redis_are_understood(tmp_path: Path) -> None:
    """Start the installed Redis with them: a misspelt option would stop it at once."""
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    if not program:
        missing("redis-server")
    (container,) = manifest_of("dev", "StatefulSet", "task-redis")["spec"]["template"]["spec"]["containers"]
    options = [option.replace("$(REDIS_PASSWORD)", "development") for option in container["args"][1:]]
    command = [program, *options, "--port 0", f"--unixsocket {tmp_path}/s", f"--dir {tmp_path}"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: (tmp_path / "s").exists() or process.poll() is not None, what="Redis")
        assert process.poll() is None
    finally:
        process.terminate()
        process.wait(10)
