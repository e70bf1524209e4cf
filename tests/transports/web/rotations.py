"""Rotations of a simulated account's session, and recorders of their calls and outcomes."""

from msgspec.structs import replace
from multidict import CIMultiDict

from tests.observer import NullObserver
from tests.transports.conftest import asking, connected, deps_for, request_for
from transports.web import wire
from transports.web.session.rotation import SessionRotation


def rotation_of(transport, store, clock):
    session = connected(transport).session
    return SessionRotation(session, session.site.session_store, deps_for(clock, store))


async def ask(transport):
    async with asking(transport, request_for("<echo>ok</echo>"), transport.accounts[0]) as answer:
        return [event async for event in answer]


class RotationRecorder(NullObserver):
    """Record outcomes of rotations and changes of accounts."""

    def __init__(self):
        self.outcomes, self.changes = [], []

    def rotated(self, transport, account, outcome):
        self.outcomes.append(outcome)

    def changed(self, change):
        self.changes.append((change.event, change.reason))


def observed_rotation_of(transport, store, clock, recorder):
    session = connected(transport).session
    return SessionRotation(session, session.site.session_store, replace(deps_for(clock, store), observer=recorder))


class RotationCalls:
    """Record the headers and cookies of a transport's rotation calls, and replace the site's answers."""

    def __init__(self, transport):
        self.site = connected(transport).session.site
        self.sent, self.answers = [], []
        self._call, self.site.call = self.site.call, self.call

    async def call(self, method, url, headers, *, only=None, **options):
        if not url.endswith(wire.ROTATE_PATH):
            return await self._call(method, url, headers, **options)
        self.sent.append((headers, sorted(only), options["data"]))
        if self.answers:
            status, set_cookies, body = self.answers.pop(0)
            return status, CIMultiDict([("Set-Cookie", line) for line in set_cookies]), body
        return await self._call(method, url, headers, only=only, **options)


def interval(seconds):
    return b')]}\'\n\n[["identity.hfcr",%d],["di",44]]' % seconds


REFUSED = (401, [], b"")
PAIR, BARE = ["__Secure-1PSID", "__Secure-1PSIDTS"], ["__Secure-1PSID"]
