import subprocess
import sys

from protocol.http.budget import MIB, ByteBudget, Reservation
from service.server.memory import CgroupMemory, MemoryTrimmer
from tests.clock import ManualClock

V2 = ("memory.max", "memory.current", "inactive_file")
V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def group(folder, names, limit, used, cached=0):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    active = names[2].replace("inactive", "active")
    (folder / "memory.stat").write_text(f"anon 1\n{names[2]} {cached // 2}\nfile 2\n{active} {cached - cached // 2}\n")


def memory(tmp_path, groups):
    (tmp_path / "groups").write_text(groups)
    return CgroupMemory(tmp_path / "root", tmp_path / "groups")


def test_what_the_kernel_gives_back_at_once_is_not_taken(tmp_path):
    group(tmp_path / "root", V2, 1000, 900, cached=400)
    assert memory(tmp_path, "0::/\n").ratio() == 0.5


def test_a_group_above_that_has_less_left_tells(tmp_path):
    group(tmp_path / "root" / "pod" / "container", V2, "max", 100)
    group(tmp_path / "root" / "pod", V2, 200, 150)
    assert memory(tmp_path, "0::/pod/container\n").ratio() == 0.75


def test_the_first_version_of_groups_is_read_too(tmp_path):
    group(tmp_path / "root" / "memory" / "docker" / "x", V1, 1000, 960, cached=10)
    assert memory(tmp_path, "11:cpu,cpuacct:/docker/x\n7:memory:/docker/x\n").ratio() == 0.95


def test_in_a_container_that_sees_its_own_group_as_the_root_the_root_is_read(tmp_path):
    group(tmp_path / "root" / "memory", V1, 1000, 500)
    assert memory(tmp_path, "7:memory:/docker/x\n").ratio() == 0.5


def test_the_least_limit_counts(tmp_path):
    group(tmp_path / "root" / "pod" / "container", V2, "max", 100)
    group(tmp_path / "root" / "pod", V2, 200, 150)
    group(tmp_path / "root", V2, 300, 150)
    assert memory(tmp_path, "0::/pod/container\n").limit() == 200


def test_without_a_limit_there_is_none(tmp_path):
    group(tmp_path / "root", V2, "max", 900)
    assert memory(tmp_path, "0::/\n").ratio() is None
    group(tmp_path / "root" / "memory", V1, 9223372036854771712, 900)
    assert memory(tmp_path, "7:memory:/\n").ratio() is None
    assert memory(tmp_path, "nonsense\n").ratio() is None
    assert CgroupMemory(tmp_path / "root", tmp_path / "nowhere").ratio() is None


def test_files_that_go_away_or_are_no_numbers_are_no_limit(tmp_path):
    group(tmp_path / "root", V2, 1000, 900)
    found = memory(tmp_path, "0::/\n")
    (tmp_path / "root" / "memory.current").write_text("many")
    assert found.ratio() is None
    (tmp_path / "root" / "memory.current").unlink()
    assert found.ratio() is None


async def test_memory_is_given_back_once_after_a_burst(monkeypatch):
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


def test_freed_memory_goes_back_to_the_system():
    resident = [
        int(subprocess.run([sys.executable, "-c", FREED, how], capture_output=True, text=True, check=True).stdout)
        for how in ("set", "default")
    ]
    assert resident[0] + 16 * 1024 < resident[1]
