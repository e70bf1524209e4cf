"""The report as text: each figure with its goal, the upstream's own rate, and where the time goes."""

import os
import statistics
from collections.abc import Callable
from typing import NamedTuple

from tests.bench import answers, processes
from tests.bench.samples import FEW, GATEWAY, OFFICIAL, PASS, UPSTREAM, VALKEY

_ENOUGH = 2.0
"""An upstream that is this many times as fast as the pass-through does not limit it."""
_PACKAGES_SHOWN = 9
_FUNCTIONS_SHOWN = 14
_HEADING = f"{'':46}{PASS:>14}{GATEWAY:>12}{VALKEY:>12}   ratio, lowest to highest   goal"


def _micros(seconds):
    return f"{1e6 * seconds:,.0f} µs"


def _millis(seconds):
    return f"{1e3 * seconds:,.2f} ms"


def _rate(value):
    return f"{value:,.0f}/s"


def _memory(count):
    return f"{count / 2**20:.1f} MiB" if abs(count) >= 2**20 else f"{count / 2**10:.1f} KiB"


def _percent(share):
    return f"{100 * share:.0f} %"


class Goal(NamedTuple):
    """The lower or upper bound of a figure."""

    of: Callable
    """Returns the figure, of the samples and a measure."""
    limit: float
    text: str
    least: bool = False

    def verdict(self, samples, measure):
        figure = self.of(samples, measure)
        met = figure >= self.limit if self.least else figure <= self.limit
        return f"{self.text}: {'met' if met else 'missed'}"


def share(samples, measure):
    """Return which part of the gateway's figure the pass-through's is: of a cost, the ratio of throughputs."""
    return 1 / statistics.median(samples.ratios(measure, GATEWAY))


def times(samples, measure):
    return statistics.median(samples.ratios(measure, GATEWAY))


def added(samples, measure):
    return statistics.median(samples.added(measure))


def value(samples, measure):
    return samples.middle(measure, GATEWAY)


def _at_least(part):
    return Goal(share, part, f"≥ {part}", least=True)


COSTS = [
    ("processor time of a short chat", "short", _micros, _at_least(0.35)),
    ("… of a chat of two turns, each turn", "talk", _micros, None),
    ("… of an answer of 100 events at once", "hundred", _micros, _at_least(0.9)),
    ("… of a paced chunk", "paced", _micros, _at_least(0.45)),
    ("… of a chat with 200 kB of history", "history", _millis, Goal(value, 0.006, "≤ 6 ms")),
    ("… of a picture of 8 MB in", "picture in", _millis, Goal(value, 0.060, "≤ 60 ms")),
    ("… of a picture of 5 MB out", "picture out", _millis, None),
    *((f"… of 1 MB of {kind}", kind, _millis, None) for kind in answers.MEGABYTE),
    ("… of an answer in many frames of 100 bytes", "fine", _millis, None),
]
"""Their ratio is that of throughputs: the pass-through's cost by the gateway's."""

FIGURES = [
    ("short chats, 32 at once", "requests", _rate, None),
    ("… p99", "p99", _millis, Goal(times, 3, "≤ 3 times")),
    ("time to first token alone, p50", "first p50", _millis, None),
    ("… p99", "first p99", _millis, None),
    ("time to first token in a crowd, p50", "crowd p50", _millis, Goal(added, 0.004, "≤ 4 ms more")),
    ("… p99", "crowd p99", _millis, Goal(added, 0.025, "≤ 25 ms more")),
    ("part of a core that the crowd needs", "crowd busy", _percent, Goal(value, 0.95, "≤ 95 %")),
    ("start-up, processor time", "start", _millis, Goal(value, 0.5, "≤ 500 ms")),
    ("memory, idle", "idle", _memory, Goal(value, 48 * 2**20, "≤ 48 MiB")),
    ("memory of an open stream", "each", _memory, Goal(value, 60 * 2**10, "≤ 60 KiB")),
]


WAYS = [
    ("processor time of a short chat", "short", _micros),
    ("… of a short chat, streamed", "few", _micros),
    ("… of a chat of two turns, each turn", "talk", _micros),
    ("… of an answer of 100 events at once", "hundred", _micros),
    ("… of a paced chunk", "paced", _micros),
    ("… of a chat that offers 20 tools", "tools", _micros),
    ("… of a chat with 200 kB of history", "history", _millis),
    ("… of a chat with a picture of 8 MB", "sent picture", _millis),
    ("… of an embedding", "embeddings", _micros),
    ("short chats, 32 at once", "requests", _rate),
    ("time to first token alone, p50", "first p50", _millis),
    ("memory, idle", "idle", _memory),
    ("memory of an open stream", "each", _memory),
]
"""What the two ways are compared by, as ratios within the same round."""
_NO_DEARER = 1.05
"""A chat by the official API may cost this many times what it costs by the site."""


def text(bench):
    """Return the whole report."""
    samples, plan = bench.samples, bench.plan
    rows = [
        *(_row(samples, *cost, share) for cost in COSTS),
        *(_row(samples, *figure, times) for figure in FIGURES),
    ]
    notes = [
        f"Medians of {samples.rounds('short')} interleaved rounds or fewer; a ratio is taken within a round.",
        "Of processor time it is the pass-through's by the gateway's (that is, of throughputs),",
        "of all else the gateway's by the pass-through's.",
        "What is measured ran before all else on the machine, which hardly changes it."
        if processes.may_be_first()
        else "Figures of time need a quiet machine; those of processor time hardly do.",
        f"This one has {os.cpu_count()} processors and a load of {os.getloadavg()[0]:.1f}.",
        f"A crowd: {plan.crowd} streams of {1 / answers.PACE_SECONDS:.0f} chunks a second on one core.",
        f"1 MB: {plan.large_frames:,} cumulative frames, each a kilobyte longer than the last.",
    ]
    profiles = [
        _profile("a chat request", bench.profiles["requests"]),
        _profile("a paced chunk", bench.profiles["chunks"]),
    ]
    return "\n\n".join(
        [
            "\n".join([_HEADING, *rows, *notes]),
            _ways(samples),
            _comparisons(samples, plan),
            _upstream(samples),
            *profiles,
        ]
    )


def _row(samples, title, measure, unit, goal, ratio):
    subjects = (PASS, GATEWAY, VALKEY)
    shown = [unit(samples.middle(measure, one)) if samples.has(measure, one) else "" for one in subjects]
    ratios = [1 / one if ratio is share else one for one in samples.ratios(measure, GATEWAY)]
    spread = f"{statistics.median(ratios):>8.2f}   {min(ratios):.2f} to {max(ratios):.2f}"
    verdict = goal.verdict(samples, measure) if goal else ""
    return f"{title:46}{shown[0]:>14}{shown[1]:>12}{shown[2]:>12}{spread:26}   {verdict}".rstrip()


def _ways(samples):
    """Return the rows of the official API beside the pass-through and the site."""
    head = f"{'The two ways':46}{PASS:>14}{'site':>12}{OFFICIAL:>14}   of the pass-through   of the site"
    return "\n".join([head, *(_way(samples, *row) for row in WAYS)])


def _way(samples, title, measure, unit):
    subjects = (PASS, GATEWAY, OFFICIAL)
    shown = [unit(samples.middle(measure, one)) if samples.has(measure, one) else "" for one in subjects]
    line = f"{title:46}{shown[0]:>14}{shown[1]:>12}{shown[2]:>14}{_spread(samples.ratios(measure, OFFICIAL)):>22}"
    if not samples.has(measure, GATEWAY):
        return line
    ratios = samples.ratios(measure, OFFICIAL, GATEWAY)
    ratio = statistics.median(ratios)
    dearer = 1 / ratio if unit is _rate else ratio
    return f"{line}{_spread(ratios):>22}   {'no dearer' if dearer <= _NO_DEARER else 'dearer'}"


def _spread(ratios):
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def _compared(title, ratios, limit, *, least=False):
    middle = statistics.median(ratios)
    low, _, high = statistics.quantiles(ratios, n=4) if len(ratios) > 2 else (min(ratios), middle, max(ratios))
    met = middle >= limit if least else middle <= limit
    spread = f"{low:.2f} to {high:.2f}"
    goal = f"{'≥' if least else '≤'} {limit} times: {'met' if met else 'missed'}"
    return f"  {title:60}{middle:>8.2f}   {spread:14}   {goal}"


def _comparisons(samples, plan):
    """Compare what the gateway's processor time is in two situations; "linear" is by bytes of the upstream."""
    full = [samples.all(kind, GATEWAY) for kind in answers.MEGABYTE]
    halves = zip(samples.all("fine", GATEWAY), samples.all("half fine", GATEWAY), strict=True)
    linear = [one / other / 4 for one, other in halves]
    kinds = [[one / other for one, other in zip(ones, full[0], strict=True)] for ones in full[1:]]
    faster = [2 / ratio for ratio in samples.ratios("workers", GATEWAY, FEW)]
    return "\n".join(
        [
            "The gateway's processor time, one situation against another; half of the rounds lie in the span:",
            _compared("Valkey as store against SQLite, short chat", samples.ratios("short", VALKEY, GATEWAY), 1.0),
            _compared("… a chat of two turns", samples.ratios("talk", VALKEY, GATEWAY), 1.0),
            _compared(f"{plan.accounts} accounts against 3", samples.ratios("accounts", GATEWAY, FEW), 1.05),
            _compared(f"{plan.licenses:,} licenses against 1", samples.ratios("licenses", GATEWAY, FEW), 1.05),
            _compared(f"{plan.kept:,} kept conversations against 100", samples.ratios("kept", GATEWAY, FEW), 1.05),
            _compared("two workers against one: answers for their processor time", faster, 1.8, least=True),
            _compared(f"{plan.fine_frames:,} frames of 100 bytes against half of them, by byte", linear, 1.1),
            *(
                _compared(f"1 MB of {kind} against ASCII", ratios, 1.5)
                for kind, ratios in zip(("Chinese", "emoji"), kinds, strict=True)
            ),
        ]
    )


def _upstream(samples):
    lines = ["The fake upstream, asked directly:"]
    for title, measure in (("short chats", "requests"), ("chunks, as fast as they go", "chunks")):
        faster = statistics.median(samples.ratios(measure, UPSTREAM))
        verdict = "not the bottleneck" if faster >= _ENOUGH else "perhaps the bottleneck"
        rate = _rate(samples.middle(measure, UPSTREAM))
        lines.append(f"  {title:28}{rate:>12}   {faster:.1f} times the pass-through's: {verdict}")
    return "\n".join(lines)


def _profile(unit, profile):
    """Show shares as microseconds of one unit's processor time."""
    micros = 1e6 * profile.seconds
    packages = sorted(profile.packages.items(), key=lambda item: -item[1])[:_PACKAGES_SHOWN]
    functions = sorted(profile.functions.items(), key=lambda item: -item[1][1])[:_FUNCTIONS_SHOWN]
    shares = ", ".join(f"{name} {part:.0%}" for name, part in packages)
    return "\n".join(
        [
            f"Where the processor time of {unit} goes: {micros:,.0f} µs in all, from {profile.samples:,} samples",
            f"  by package: {shares}",
            f"  {'alone':>9}{'in all':>10}   functions of ours, alone and with the libraries that they call",
            *(f"  {own * micros:>6.1f} µs{whole * micros:>7.1f} µs   {name}" for name, (own, whole) in functions),
        ],
    )
