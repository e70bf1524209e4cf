import subprocess
import sys

from protocol.http.budget import MIB, ByteBudget, Reservation
from service.server.memory import MemoryTrimmer
from tests.clock import ManualClock


async def test_freed_memory_is_returned_once_after_a_burst(monkeypatch):
    trimmed = []
    monkeypatch.setattr("service.server.memory._libc", lambda name: trimmed.append)
    budget = ByteBudget(100 * MIB)
    trimmer, hold, small = MemoryTrimmer(budget, ManualClock()), Reservation(budget), Reservation(budget)
    await small.raise_to(MIB)
    await trimmer.trim_if_unused()
    await hold.raise_to(80 * MIB)
    await trimmer.trim_if_unused()
    assert trimmed == []
    hold.release()
    await trimmer.trim_if_unused()
    await trimmer.trim_if_unused()
    assert trimmed == [0]


FREED = """
import sys
from service.server.memory import set_allocator
if sys.argv[1] == "set":
    set_allocator()
large = b"x" * (30 << 20)
del large
kept = [b"x" * (2 << 20) if number % 2 else b"x" * 1000 for number in range(40)]
kept[1::2] = [None] * 20
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmRSS")))
"""


def test_the_allocator_returns_freed_memory_to_the_system():
    resident = [
        int(subprocess.run([sys.executable, "-c", FREED, how], capture_output=True, text=True, check=True).stdout)
        for how in ("set", "default")
    ]
    assert resident[0] + 16 * 1024 < resident[1]
