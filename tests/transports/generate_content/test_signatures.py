"""The signatures of calls, over the processes of a gateway."""

from protocol.model import ToolCall
from transports.generate_content.signatures import Signatures
from transports.store import MemoryStore


def call(name):
    return ToolCall(id=name, name="f", arguments="{}")


async def test_another_process_knows_a_signature_and_its_account(clock):
    store = MemoryStore(clock)
    one, other = Signatures(store), Signatures(store)
    await one.keep("me", "first", {"a": "signed"})
    for signatures in (one, other):
        assert await signatures.of("me", [call("a"), call("b")]) == {"a": "signed"}
        assert await signatures.account_of("me", [call("b"), call("a")]) == "first"


async def test_another_license_does_not_get_it(clock):
    signatures = Signatures(MemoryStore(clock))
    await signatures.keep("me", "first", {"a": "signed"})
    assert await signatures.of("you", [call("a")]) == {}
    assert await signatures.account_of("you", [call("a")]) == ""
