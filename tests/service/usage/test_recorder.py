"""The recorder moves what the journal has to the ledger, once, also after the ledger failed."""

from contextlib import closing
from zoneinfo import ZoneInfo

import pytest

from service.usage.journal import Journal
from service.usage.ledger import Days
from service.usage.recorder import UsageRecorder, open_recorder
from service.usage.sqlite_ledger import SqliteUsageLedger
from service.usage.usage_record import LINE
from tests.service.usage.records import record


class FailingLedger:
    """Fails as long as `failing` is set; otherwise it is the ledger below."""

    def __init__(self, ledger):
        self._ledger, self.failing = ledger, False

    async def append(self, records):
        await self._ledger.append(records)
        if self.failing:
            raise OSError("the disk is full")

    async def prune(self, now):
        await self._ledger.prune(now)


@pytest.fixture
def ledger(tmp_path):
    with closing(SqliteUsageLedger(tmp_path / "usage.sqlite3", Days(ZoneInfo("UTC"), 90))) as one:
        yield one


@pytest.mark.parametrize("in_memory", [False, True])
async def test_records_stay_in_the_journal_until_the_ledger_takes_them_once(tmp_path, clock, ledger, in_memory):
    journal, failing = Journal(None if in_memory else tmp_path / "journal"), FailingLedger(ledger)
    recorder, written = UsageRecorder(journal, failing, clock), [record(), record()]
    for one in written:
        journal.write(LINE.encode(one))
    failing.failing = True
    with pytest.raises(OSError, match="full"):
        await recorder.flush()
    failing.failing = False
    await recorder.flush()
    await recorder.flush()
    assert sorted(one.id for one in await ledger.records()) == sorted(one.id for one in written)
    assert journal.files() == []


async def test_all_records_are_in_the_ledger_at_the_end(tmp_path, clock, ledger):
    folder, one = tmp_path / "journal", record()
    dead = Journal(folder)
    dead.write(LINE.encode(one))
    dead.close_file()
    async with open_recorder(ledger, folder, clock):
        pass
    assert await ledger.records() == [one]
