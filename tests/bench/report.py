"""What was measured, as a text: a table of ratios, the upstream's own rate, and where the gateway's time goes."""

import statistics

from tests.bench import answers
from tests.bench.samples import GATEWAY, PASS, UPSTREAM

_AIM = 0.5
"""The part of the pass-through's throughput that the gateway should reach."""
_ENOUGH = 2.0
"""An upstream so many times as fast as the pass-through does not hold it up."""
_PACKAGES_SHOWN = 9
_FUNCTIONS_SHOWN = 14


def text(bench):
    """Return the whole report."""
    profiles = [
        _profile("a chat request", bench.profiles["requests"]),
        _profile("a paced chunk", bench.profiles["chunks"]),
    ]
    return "\n\n".join([_ratios(bench.samples, bench.plan), _upstream(bench.samples), *profiles])


def _rate(value):
    return f"{value:,.0f}/s"


def _time(seconds):
    return f"{1000 * seconds:.2f} ms"


def _memory(count):
    return f"{count / 2**20:.1f} MiB" if abs(count) >= 2**20 else f"{count / 2**10:.1f} KiB"


def _ratios(samples, plan):
    costs = [
        ("time to first token, p50", "first p50", _time),
        ("time to first token, p99", "first p99", _time),
        ("memory, idle", "idle", _memory),
        (f"memory with {plan.held:,} open streams", "open", _memory),
        ("memory of one open stream", "each", _memory),
    ]
    rows = [
        _throughput(samples, "chat requests", "requests"),
        _throughput(samples, "streamed chunks, as fast as they go", "chunks"),
        _throughput(samples, "paced chunks, per processor second", "paced"),
        *(_cost(samples, *cost) for cost in costs),
    ]
    heading = f"{'':36}{PASS:>14}{GATEWAY:>14}{'ratio':>8}   lowest to highest"
    rounds = "1 round" if plan.rounds == 1 else f"{plan.rounds} rounds"
    notes = [
        f"Medians of {rounds}; a ratio is taken within a round, so that both had the same machine.",
        f"Paced: {plan.paced_connections} streams of {1 / answers.PACE_SECONDS:.0f} chunks a second.",
    ]
    return "\n".join([heading, *rows, *notes])


def _row(samples, title, measure, unit):
    ratios = samples.ratios(measure)
    ours, theirs = (unit(samples.middle(measure, subject)) for subject in (GATEWAY, PASS))
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    return f"{title:36}{theirs:>14}{ours:>14}{statistics.median(ratios):>8.2f}   {spread:14}"


def _throughput(samples, title, measure):
    met = statistics.median(samples.ratios(measure)) >= _AIM
    return f"{_row(samples, title, measure, _rate)}   aim of {_AIM} {'met' if met else 'missed'}"


def _cost(samples, title, measure, unit):
    return f"{_row(samples, title, measure, unit)}   {unit(samples.added(measure))} added"


def _upstream(samples):
    lines = ["The fake upstream, asked directly:"]
    for title, measure in (("chat requests", "requests"), ("streamed chunks", "chunks")):
        times = statistics.median(samples.ratios(measure, UPSTREAM))
        busy = 100 * samples.middle(f"{measure} busy", PASS)
        verdict = "not the bottleneck" if times >= _ENOUGH else "perhaps the bottleneck"
        rate = _rate(samples.middle(measure, UPSTREAM))
        compared = f"{times:.1f} times the pass-through's, whose processor was {busy:.0f} % busy: {verdict}"
        lines.append(f"  {title:25}{rate:>12}   {compared}")
    first, through = (_time(samples.middle("first p50", subject)) for subject in (UPSTREAM, PASS))
    lines.append(f"  {'time to first token, p50':25}{first:>12}   {through} through the pass-through")
    return "\n".join(lines)


def _profile(unit, profile):
    """Show shares as microseconds of one unit's processor time."""
    micros = 1e6 * profile.seconds
    packages = sorted(profile.packages.items(), key=lambda item: -item[1])[:_PACKAGES_SHOWN]
    functions = sorted(profile.functions.items(), key=lambda item: -item[1][1])[:_FUNCTIONS_SHOWN]
    shares = ", ".join(f"{name} {share:.0%}" for name, share in packages)
    return "\n".join(
        [
            f"Where the processor time of {unit} goes: {micros:,.0f} µs in all, from {profile.samples:,} samples",
            f"  by package: {shares}",
            f"  {'alone':>9}{'in all':>10}   functions of ours, alone and with the libraries that they call",
            *(f"  {own * micros:>6.1f} µs{whole * micros:>7.1f} µs   {name}" for name, (own, whole) in functions),
        ],
    )
