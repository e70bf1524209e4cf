"""`gemini-gateway route`: explain which way a request would take."""

from pathlib import Path

import click
import msgspec

from protocol.model import ModelUnknown
from service import wiring
from service.accounts.route_view import HopView, RouteExplainer, RouteQuery, RouteView
from service.cli.account_table import ahead_short
from service.cli.accounts import with_accounts
from service.cli.options import config_option, settings_at
from transports.clock import SystemClock


@click.group("route")
def route() -> None:
    """Explain routes."""


@route.command("explain")
@click.option("--model", required=True, help="Name of the model, as clients write it.")
@click.option("--license", help="Id of the license.", default="")
@click.option("--tools", is_flag=True, help="The request offers tools.")
@click.option("--json-schema", is_flag=True, help="Its answer must be JSON.")
@click.option("--images", is_flag=True, help="It has pictures.")
@click.option("--files", is_flag=True, help="It has other files.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@config_option
def explain(config_path: Path | None, *, as_json: bool, **request: str | bool) -> None:
    """Show which route a request would take.

    Sends nothing. Shows the transports in their order, and which of their accounts can serve the request now.
    """
    _, settings, origin = settings_at(config_path)
    configs = wiring.transport_settings(settings, origin)
    table = wiring.routes_of(settings, origin)
    explainer = RouteExplainer(
        wiring.build_catalogue(settings, origin),
        lambda: table,
        lambda name, selection: wiring.TRANSPORTS[name].model_of(configs[name], name, selection),
    )
    rows = with_accounts(config_path, lambda service: service.list_accounts())
    try:
        found = explainer.explain(msgspec.convert(request, RouteQuery), rows)
    except ModelUnknown as error:
        raise click.ClickException(error.message) from None
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found)))
        return
    for line in route_lines(found, SystemClock().wall()):
        click.echo(line)


def route_lines(route: RouteView, now: float) -> list[str]:
    """Return a route as lines for a terminal."""
    which = "the default one" if route.route is None else f"routes[{route.route}] of the settings"
    lines = [f"{route.model}: {route.capability}, family {route.family}", f"Route: {which}"]
    for hop in route.hops:
        share = f" ({hop.share:.0%})" if hop.share < 1 else ""
        lines.append(f"  {hop.place}. {hop.hop}{share}: {_hop_text(hop, now)}")
    asked = " or ".join(route.first)
    lines.append(f"Asked first now: {asked}." if asked else "No account can serve it now.")
    return lines


def _hop_text(hop: HopView, now: float) -> str:
    if not hop.offered:
        return "does not offer it"
    if not hop.accounts:
        return f"{hop.model}, no account"
    states: dict[str, list[str]] = {}
    for account in hop.accounts:
        why = ahead_short(account.until, now) if account.until is not None else account.reason
        text = f"{account.id} {why}" if account.state == "cooling_down" else account.id
        states.setdefault(account.state.replace("_", " "), []).append(text)
    return f"{hop.model}, " + "; ".join(f"{len(names)} {state} ({', '.join(names)})" for state, names in states.items())
