"""Debian's Prometheus, which watches gateways, and the queries of rules, dashboards and runbooks."""

import json
import re
import shutil
import subprocess
import time

import httpx2 as httpx
import yaml

from tests.conftest import ROOT
from tests.servers import free_port

RULES = ROOT / "deploy" / "prometheus" / "gemini-gateway.rules.yml"
DASHBOARDS = sorted((ROOT / "deploy" / "grafana" / "dashboards").glob("*.json"))
RUNBOOKS = sorted((ROOT / "docs" / "runbooks").glob("Gateway*.md"))
SELECTOR = re.compile(r"\b(gateway[_:][a-z0-9_:]+|up\b)(\{[^}]*\})?")


def groups():
    return yaml.safe_load(RULES.read_text())["groups"]


def rules(kind):
    """Return the rules that record, or that alert, by name."""
    return {rule[kind]: rule for group in groups() for rule in group["rules"] if kind in rule}


def panels(path):
    """Return a dashboard's panels, those within rows too."""
    found = json.loads(path.read_text())["panels"]
    return found + [inner for panel in found for inner in panel.get("panels", [])]


def variables(path):
    """Return a dashboard's variables by name."""
    return {one["name"]: one for one in json.loads(path.read_text())["templating"]["list"]}


def panel_expressions(path):
    """Return what a dashboard's panels ask, as Grafana puts it: all that a variable may be, over five minutes."""
    asked = [target["expr"] for panel in panels(path) for target in panel.get("targets", [])]
    named = {name: one["allValue"] for name, one in variables(path).items() if "allValue" in one}
    for name, value in [*named.items(), ("__rate_interval", "5m")]:
        asked = [expression.replace(f"${name}", value) for expression in asked]
    return asked


def runbook_expressions(path):
    """Return the queries of a runbook's page."""
    return [
        code for code in re.findall(r"`([^`]+)`", path.read_text()) if SELECTOR.search(code) and " " not in code[:3]
    ]


def selectors(expression):
    """Return the names that an expression asks for, each with its labels."""
    return [(name, labels) for name, labels in SELECTOR.findall(expression)]


def families(text):
    """Return the names of the series that `/metrics` may show."""
    found = set()
    for name, kind in re.findall(r"(?m)^# TYPE (\S+) (\S+)$", text):
        found |= {name, f"{name}_bucket", f"{name}_count", f"{name}_sum"} if kind == "histogram" else {name}
    return found


class Prometheus:
    """The server, on a free port, with our rules; they are evaluated each second, and targets asked twice as often."""

    def __init__(self, folder, targets):
        program = shutil.which("prometheus")
        assert program, "there is no prometheus: install it (Debian: apt-get install prometheus)"
        port = free_port()
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=90)
        (folder / "rules.yml").write_text(RULES.read_text().replace("interval: 30s", "interval: 1s"))
        configuration = {
            "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "1s"},
            "rule_files": ["rules.yml"],
            "scrape_configs": [{"job_name": "gemini-gateway", "static_configs": [{"targets": targets}]}],
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
        words = [f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
        self._log = (folder / "log").open("wb")
        self._popen = subprocess.Popen(
            [program, *words, f"--web.listen-address=127.0.0.1:{port}"],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )

    def stop(self):
        self._popen.terminate()
        self._popen.wait(90)
        self._log.close()
        self._client.close()

    def answer(self, path, **parameters):
        """Return what it answers; an expression that it does not take is an error."""
        answered = self._client.get(f"/api/v1/{path}", params=parameters)
        assert answered.status_code == 200, f"{parameters}: {answered.text}"
        return answered.json()["data"]

    def result(self, expression):
        return self.answer("query", query=expression)["result"]

    def until(self, holds):
        """Wait until something holds."""
        until = time.monotonic() + 90
        while not self._answers() or not holds():
            assert time.monotonic() < until
            assert self._popen.poll() is None
            time.sleep(0.05)

    def _answers(self):
        try:
            return self._client.get("/-/ready").status_code == 200
        except httpx.TransportError:
            return False
