"""Chooses the website's extended thinking, the only level that it has besides the usual one."""

import msgspec

from protocol.model import Caller, Selection


def think_longer(selection: Selection, caller: Caller) -> Selection:
    """Return the extended form of a selection, or the selection if there is none or the license does not cover it."""
    if not selection.capability.extendable or selection.model.guest:
        return selection
    extended = msgspec.structs.replace(selection, extended=True)
    return extended if caller.may_use(extended) else selection
