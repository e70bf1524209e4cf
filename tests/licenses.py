"""Licenses that a test can end (`protocol.http.context.CurrentLicenses`)."""

from protocol.http.disconnect import CallbackEvent


class KnownLicenses:
    """The licenses of these callers."""

    def __init__(self, *callers):
        self._callers = {caller.owner: caller for caller in callers}
        self._ends = {}

    @property
    def count(self):
        return len(self._callers)

    async def current(self, owner):
        return self._callers.get(owner)

    def end_of(self, owner):
        return self._ends.setdefault(owner, CallbackEvent())

    def end(self, owner):
        del self._callers[owner]
        self.end_of(owner).set()
