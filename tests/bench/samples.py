"""What was measured: each round's values, by measure and subject."""

import statistics

UPSTREAM, PASS, GATEWAY, VALKEY, OFFICIAL = "upstream", "pass-through", "gateway", "on Valkey", "official API"
FEW = "few"
"""The smaller of two gateways that are compared."""


class Samples:
    """Values of the same round stand at the same place, so that they can be compared with each other."""

    def __init__(self):
        self._values = {}

    def note(self, measure, subject, value):
        self._values.setdefault((measure, subject), []).append(value)

    def has(self, measure, subject):
        return (measure, subject) in self._values

    def all(self, measure, subject):
        return self._values[measure, subject]

    def rounds(self, measure):
        return len(self.all(measure, PASS))

    def middle(self, measure, subject):
        return statistics.median(self._values[measure, subject])

    def ratios(self, measure, subject, base=PASS):
        """Return the subject's value by that of `base`, round by round."""
        return [ours / theirs for ours, theirs in self.pairs(measure, subject, base)]

    def added(self, measure, subject=GATEWAY):
        """Return by how much the subject's value is above the pass-through's, round by round."""
        return [ours - theirs for ours, theirs in self.pairs(measure, subject, PASS)]

    def pairs(self, measure, subject, base):
        return zip(self._values[measure, subject], self._values[measure, base], strict=True)


def part(values, share):
    """Return the value below which a share of all lies."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]
