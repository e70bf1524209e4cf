"""The Kubernetes manifests are valid, fit the gateway and grant no more than is needed."""

import base64
import json
import re
import subprocess
import sys

import httpx2 as httpx
import kubernetes_validate
import pytest
import yaml

from service.cli.main import cli
from tests.conftest import ROOT
from tests.deploy import dockerfile, manifests
from tests.deploy.manifests import K8S, OVERLAYS
from tests.deploy.test_image import PROJECT

OPERATOR_S = {"PodMonitor": "monitoring.coreos.com/v1", "PrometheusRule": "monitoring.coreos.com/v1"}
STANDARD = {"demo": 12, "production": 9}
overlays = pytest.mark.parametrize("name", OVERLAYS)


@overlays
def test_an_overlay_matches_the_current_schemas(name):
    version, checked = kubernetes_validate.latest_version(), 0
    for document in manifests.documents(name):
        if document["kind"] in OPERATOR_S:
            assert document["apiVersion"] == OPERATOR_S[document["kind"]]
            continue
        kubernetes_validate.validate(document, version, strict=True)
        checked += 1
    assert checked == STANDARD[name]


@pytest.mark.parametrize("path", ["ingress.yaml", "secret.yaml"])
def test_an_example_matches_the_current_schemas(path):
    kubernetes_validate.validate(manifests.example(path), kubernetes_validate.latest_version(), strict=True)


def test_the_schemas_refuse_unknown_fields_and_wrong_types():
    for wrong in ({"replicas": "three"}, {"replics": 3}):
        document = json.loads(json.dumps(manifests.deployment("production")))
        document["spec"].update(wrong)
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)


@overlays
def test_the_gateway_starts_with_its_settings(name, tmp_path):
    path, settings = manifests.settings_of(name, tmp_path)
    words = [sys.executable, "-m", "service", "config", "check", "--config", path]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    ports = {one["name"]: one["containerPort"] for one in manifests.container(name)["ports"]}
    assert ports == {"http": settings.server.port, "operations": settings.operations.port}
    assert settings.server.host == settings.operations.host == "0.0.0.0"
    command, option, value = manifests.container(name)["args"]
    assert command in cli.commands
    assert (option, value) == ("--config", f"{dockerfile.last('WORKDIR')}/gateway.toml")
    assert dockerfile.last("WORKDIR") in {one["mountPath"] for one in manifests.container(name)["volumeMounts"]}
    autoscaler = manifests.of(name, "HorizontalPodAutoscaler").get("gemini-gateway")
    fewest = autoscaler["spec"]["minReplicas"] if autoscaler else manifests.deployment(name)["spec"]["replicas"]
    assert settings.store.min_processes == fewest


@overlays
def test_every_secret_that_the_settings_name_is_mounted_as_a_file_and_none_is_a_variable(name):
    named = set(re.findall(r"(?m)^[^#\n]*/run/secrets/gemini-gateway/([\w-]+)", manifests.settings_text(name)))
    secret = manifests.secret_of(name)
    assert named <= set(secret.get("data") or secret["stringData"])
    mounts = {one["mountPath"]: one for one in manifests.container(name)["volumeMounts"]}
    assert mounts["/run/secrets/gemini-gateway"]["readOnly"] is True
    assert not [one for one in mounts.values() if "subPath" in one]
    assert "env" not in manifests.container(name)
    assert "envFrom" not in manifests.container(name)


def test_the_secrets_of_the_repository_are_placeholders():
    store, license_key = (
        base64.b64decode(manifests.secret_of("demo")["data"][key]) for key in ("store-url", "license")
    )
    assert (store, license_key) == (b"redis://valkey:6379/0", b"sk-demo-opens-only-a-simulator")
    assert not manifests.of("production", "Secret")
    for value in manifests.example("secret.yaml")["stringData"].values():
        assert "PASSWORD" in value or "FROM openssl" in value


@overlays
def test_a_pod_has_enough_time_for_its_shutdown(name, tmp_path):
    _, settings = manifests.settings_of(name, tmp_path)
    pause = manifests.container(name)["lifecycle"]["preStop"]["sleep"]["seconds"]
    grace = manifests.pod(name)["terminationGracePeriodSeconds"]
    assert grace == pause + settings.drain.notice_seconds + settings.drain.grace_seconds + 30
    assert manifests.deployment(name)["spec"]["progressDeadlineSeconds"] > grace


@overlays
def test_a_rollout_removes_no_pod_before_the_new_one_is_ready(name):
    spec = manifests.deployment(name)["spec"]
    assert spec["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert spec["minReadySeconds"] >= 10
    budget = manifests.of(name, "PodDisruptionBudget")["gemini-gateway"]["spec"]
    assert (budget["maxUnavailable"], budget["unhealthyPodEvictionPolicy"]) == (1, "AlwaysAllow")
    labels = spec["template"]["metadata"]["labels"]
    for selector in (spec["selector"], budget["selector"]):
        assert selector["matchLabels"].items() <= labels.items()
    assert [one["topologyKey"] for one in manifests.pod(name)["topologySpreadConstraints"]] == [
        "topology.kubernetes.io/zone",
        "kubernetes.io/hostname",
    ]


@overlays
def test_probes_use_paths_that_the_gateway_serves(name, operations):
    for kind, path in (("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")):
        asked = manifests.container(name)[kind]["httpGet"]
        assert asked == {"path": path, "port": "operations"}
        assert httpx.get(f"{operations}{path}").status_code == 200
    startup = manifests.container(name)["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 120


@overlays
def test_every_pod_meets_the_restricted_profile(name):
    for one in manifests.of(name, "Deployment").values():
        spec = one["spec"]["template"]["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] >= 10000
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for each in spec["containers"]:
            context = each["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert each["resources"]["limits"]["memory"] == each["resources"]["requests"]["memory"]
            assert "cpu" not in each["resources"]["limits"]
        for volume in spec["volumes"]:
            assert "emptyDir" not in volume or volume["emptyDir"]["sizeLimit"]
    (space,) = manifests.of(name, "Namespace").values()
    assert space["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


@overlays
def test_the_network_policy_forbids_everything_that_is_not_listed(name):
    policies = manifests.of(name, "NetworkPolicy")
    assert policies["default-deny"]["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    gateway = policies["gemini-gateway"]["spec"]
    assert gateway["policyTypes"] == ["Ingress", "Egress"]
    assert all(
        rule["ports"] and (rule.get("from") or rule.get("to")) for rule in gateway["ingress"] + gateway["egress"]
    )
    wide = [peer["ipBlock"] for rule in gateway["egress"] for peer in rule["to"] if "ipBlock" in peer]
    assert {one["cidr"] for one in wide} == {"0.0.0.0/0", "2000::/3"}
    private = {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16"}
    assert private <= set(next(one for one in wide if one["cidr"] == "0.0.0.0/0")["except"])
    open_to_google = [rule["ports"] for rule in gateway["egress"] if any("ipBlock" in peer for peer in rule["to"])]
    assert open_to_google == [[{"port": 443, "protocol": "TCP"}]]


def test_the_autoscaler_uses_a_metric_of_the_gateway(metrics, tmp_path):
    spec = manifests.of("production", "HorizontalPodAutoscaler")["gemini-gateway"]["spec"]
    (pods,) = [one["pods"] for one in spec["metrics"]]
    _, settings = manifests.settings_of("production", tmp_path)
    assert pods["target"] == {"type": "AverageValue", "averageValue": str(settings.limits.concurrency * 60 // 100)}
    assert "replicas" not in manifests.deployment("production")["spec"]
    assert spec["behavior"]["scaleDown"]["stabilizationWindowSeconds"] >= 600
    values = yaml.safe_load((K8S / "overlays" / "production" / "prometheus-adapter-values.yaml").read_text())
    (rule,) = values["rules"]["custom"]
    assert rule["name"]["as"] == pods["metric"]["name"]
    assert rule["seriesQuery"].startswith(pods["metric"]["name"] + "{")
    assert f"# TYPE {pods['metric']['name']} gauge" in metrics.splitlines()


def test_the_rules_of_the_operator_are_those_of_prometheus():
    made = yaml.safe_load((K8S / "components" / "monitoring" / "prometheusrule.yaml").read_text())
    rules = yaml.safe_load((ROOT / "deploy" / "prometheus" / "gemini-gateway.rules.yml").read_text())
    assert made["spec"] == rules, "run: make rules"
    assert manifests.of("production", "PrometheusRule")["gemini-gateway"]["spec"] == rules


def test_the_pod_monitor_finds_the_pods_and_their_port():
    spec = manifests.of("production", "PodMonitor")["gemini-gateway"]["spec"]
    labels = manifests.deployment("production")["spec"]["template"]["metadata"]["labels"]
    assert spec["selector"]["matchLabels"].items() <= labels.items()
    (endpoint,) = spec["podMetricsEndpoints"]
    assert endpoint["port"] in {one["name"] for one in manifests.container("production")["ports"]}
    assert endpoint["path"] == "/metrics"
    assert set(spec) == {"selector", "podMetricsEndpoints"}


def test_ingresses_do_not_buffer_streams(tmp_path):
    _, settings = manifests.settings_of("production", tmp_path)
    longest = settings.deadlines.research_seconds
    ingress = manifests.example("ingress.yaml")
    said = {key.rpartition("/")[2]: value for key, value in ingress["metadata"]["annotations"].items()}
    assert said["proxy-buffering"] == said["proxy-request-buffering"] == "off"
    assert float(said["proxy-read-timeout"]) > longest
    assert said["proxy-next-upstream"] == "error"
    assert int(said["proxy-body-size"].removesuffix("m")) * 1024**2 >= settings.limits.body_bytes
    (rule,) = ingress["spec"]["rules"]
    (path,) = rule["http"]["paths"]
    service = manifests.of("production", "Service")["gemini-gateway"]["spec"]
    assert path["path"] == settings.server.prefix
    assert path["backend"]["service"]["port"]["name"] in {one["name"] for one in service["ports"]}
    route = manifests.example("httproute.yaml")
    assert route["apiVersion"] == "gateway.networking.k8s.io/v1"
    (rule,) = route["spec"]["rules"]
    assert rule["timeouts"] == {"request": "0s", "backendRequest": "0s"}
    assert rule["backendRefs"] == [{"name": "gemini-gateway", "port": service["ports"][0]["port"]}]
    assert rule["matches"][0]["path"]["value"] == settings.server.prefix


@overlays
def test_the_image_has_the_version_of_the_project(name):
    assert manifests.container(name)["image"] == f"gemini-gateway:{PROJECT['version']}"
