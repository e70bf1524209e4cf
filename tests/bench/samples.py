"""What was measured: each round's values, by measure and subject."""

import statistics

UPSTREAM, PASS, GATEWAY = "upstream", "pass-through", "gateway"


class Samples:
    """Values of the same round stand at the same place, so that they can be compared with each other."""

    def __init__(self):
        self._values = {}

    def note(self, measure, subject, value):
        self._values.setdefault((measure, subject), []).append(value)

    def middle(self, measure, subject):
        return statistics.median(self._values[measure, subject])

    def ratios(self, measure, subject=GATEWAY):
        """Return the subject's part of the pass-through's value, round by round."""
        return [ours / theirs for ours, theirs in self._pairs(measure, subject)]

    def added(self, measure):
        """Return what the gateway adds to the pass-through's value: the rounds' median."""
        return statistics.median(ours - theirs for ours, theirs in self._pairs(measure, GATEWAY))

    def _pairs(self, measure, subject):
        return zip(self._values[measure, subject], self._values[measure, PASS], strict=True)


def part(values, share):
    """Return the value below which a share of all lies."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]
