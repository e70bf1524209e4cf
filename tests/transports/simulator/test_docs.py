import re

from tests.conftest import ROOT
from transports.simulator.script import Script


def test_the_page_lists_every_attribute_and_no_other():
    rows = re.findall(r"(?m)^\| `([a-z-]+)` \|", (ROOT / "docs" / "simulator.md").read_text())
    assert sorted(rows) == sorted([*(name.replace("_", "-") for name in Script.__struct_fields__), "length"])


def test_its_settings_are_the_simulators():
    import tomllib

    import msgspec

    from transports.simulator import SimulatorConfig

    text = (ROOT / "docs" / "simulator.md").read_text()
    tree = tomllib.loads(re.search(r"```toml\n(.*?)```", text, re.DOTALL)[1])
    config = msgspec.convert(tree["transports"]["simulator"], SimulatorConfig)
    assert config.pace == SimulatorConfig().pace
    assert (config.grace_seconds, config.rotation_gap_seconds) == (60.0, 60.0)
