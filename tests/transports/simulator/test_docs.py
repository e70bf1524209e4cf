import re

from tests.clock import ManualClock
from tests.conftest import ROOT
from transports.simulator.prompt_directives import OWN, PromptScript


def test_the_page_lists_every_attribute_and_no_other():
    rows = re.findall(r"(?m)^\| `([a-z-]+)` \|", (ROOT / "docs" / "simulator.md").read_text())
    names = [name.replace("_", "-") for name in PromptScript.__struct_fields__ if name not in OWN]
    assert sorted(rows) == sorted([*names, "length"])


def test_the_page_lists_the_settings_of_the_simulator():
    import tomllib

    import msgspec

    from transports.simulator import SimulatorConfig

    text = (ROOT / "docs" / "simulator.md").read_text()
    tree = tomllib.loads(re.search(r"```toml\n(.*?)```", text, re.DOTALL)[1])
    config = msgspec.convert(tree["transports"]["simulator"], SimulatorConfig)
    assert config.pace == SimulatorConfig().pace
    (account,) = config.accounts
    (key,) = config.api_keys
    assert config == msgspec.structs.replace(SimulatorConfig(), accounts=(account,), api_keys=(key,))
    shown = tree["transports"]["simulator"]
    unshown = {"rotate_seconds", "cookie_every", "service_accounts"}
    assert set(SimulatorConfig.__struct_fields__) - shown.keys() == unshown
    assert set(type(account).__struct_fields__) == shown["accounts"][0].keys()
    assert set(type(key).__struct_fields__) == shown["api_keys"][0].keys()


def test_the_state_shows_all_counts():
    from transports.simulator.accounts import SimulatedAccounts
    from transports.simulator.config import SimulatedAccount, SimulatorConfig

    text = (ROOT / "docs" / "simulator.md").read_text().partition("Under `accounts`")[2]
    documented = [name for names in re.findall(r"(?m)^- (`.*?): ", text) for name in re.findall(r"`(\w+)`", names)]
    config = SimulatorConfig(accounts=(SimulatedAccount(psid="p"),))
    (judged,) = SimulatedAccounts(config, ManualClock()).shown()
    assert documented == list(judged)
