"""Grafana's dashboards and how they get there; their queries are asked of a real Prometheus in test_prometheus."""

import json

import pytest
import yaml

from tests.conftest import ROOT
from tests.deploy.watching import DASHBOARDS, panels, variables

GRAFANA = ROOT / "deploy" / "grafana"
dashboards = pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)


def test_there_are_three_dashboards_with_unique_names():
    read = [json.loads(path.read_text()) for path in DASHBOARDS]
    assert [one["uid"] for one in read] == [f"gemini-gateway-{path.stem}" for path in DASHBOARDS]
    assert [path.stem for path in DASHBOARDS] == ["accounts", "licenses", "overview"]
    assert len({one["title"] for one in read}) == 3


@dashboards
def test_every_panel_queries_the_chosen_source_and_none_overlap(path):
    assert variables(path)["datasource"]["query"] == "prometheus"
    found = panels(path)
    assert len({panel["id"] for panel in found}) == len(found)
    assert len({panel["title"] for panel in found}) == len(found)
    for panel in found:
        assert panel["datasource"]["uid"] == "${datasource}"
        for target in panel["targets"]:
            assert target["datasource"]["uid"] == "${datasource}"
            assert 'job=~"$job"' in target["expr"]
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
    cells = [cell for panel in found for cell in cells_of(panel["gridPos"])]
    assert len(set(cells)) == len(cells)
    assert all(0 <= x < 24 for x, _ in cells)


def cells_of(place):
    for x in range(place["x"], place["x"] + place["w"]):
        for y in range(place["y"], place["y"] + place["h"]):
            yield x, y


@dashboards
def test_a_dashboard_reads_as_it_was_written(path):
    text = path.read_text()
    assert text == json.dumps(json.loads(text), indent=1, ensure_ascii=False) + "\n"


def test_grafana_is_configured_with_the_dashboards_and_prometheus():
    services = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())["services"]
    mounted = {one.split(":")[0]: one.split(":")[1] for one in services["grafana"]["volumes"]}
    (provider,) = yaml.safe_load((GRAFANA / "provisioning" / "dashboards" / "gemini-gateway.yml").read_text())[
        "providers"
    ]
    assert provider["options"]["path"] == mounted["./grafana/dashboards"]
    (source,) = yaml.safe_load((GRAFANA / "provisioning" / "datasources" / "prometheus.yml").read_text())["datasources"]
    assert source["type"] == "prometheus"
    assert source["url"] == "http://prometheus:9090"
    assert "prometheus" in services
