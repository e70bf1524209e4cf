"""The ledger's file: its size, its names, and what an outside reader of it finds."""

import sqlite3
from contextlib import closing
from zoneinfo import ZoneInfo

import pytest

from service.usage.ledger import Days
from service.usage.sqlite_ledger import SqliteUsageLedger
from tests.service.usage.records import DAY, NOON, record

BYTES_OF_A_RECORD = 85
"""5,000 licenses with fifteen requests a day each, for thirty days, are 2,250,000 records: below 200 MB."""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "usage.sqlite3"


async def test_a_record_takes_few_bytes(path):
    licenses, days, requests = 200, 5, 15
    with closing(SqliteUsageLedger(path, Days(ZoneInfo("UTC"), 90))) as ledger:
        for day in range(days):
            await ledger.append(
                [
                    record(
                        license=f"customer-{number:04}",
                        finished=NOON + day * DAY + number + step / 1000,
                        account=f"account-{number % 20}",
                        input_tokens=1200 + step,
                        output_tokens=345,
                        first_token=0.812,
                        duration=3.141,
                    )
                    for number in range(licenses)
                    for step in range(requests)
                ]
            )
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert path.stat().st_size / (licenses * days * requests) <= BYTES_OF_A_RECORD


async def test_a_file_that_is_removed_is_created_again(path):
    with closing(SqliteUsageLedger(path, Days(ZoneInfo("UTC"), 90))) as ledger:
        await ledger.append([record()])
        for suffix in ("", "-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        await ledger.append([record()])
        assert len(await ledger.records()) == 1


async def test_a_file_of_another_program_is_an_error_that_names_it(path):
    path.write_text("This is no database, and it is longer than the header of one. " * 10)
    with closing(SqliteUsageLedger(path, Days(ZoneInfo("UTC"), 90))) as ledger:
        with pytest.raises(OSError, match=r"usage\.sqlite3"):
            await ledger.append([record()])
    assert path.read_text().startswith("This is no database")


async def test_names_without_rows_are_pruned(path):
    with closing(SqliteUsageLedger(path, Days(ZoneInfo("UTC"), 2))) as ledger:
        await ledger.append([record(user="old"), record(user="new", finished=NOON + 5 * DAY)])
        await ledger.prune(NOON + 5 * DAY)
    with closing(sqlite3.connect(path)) as database:
        names = {text for (text,) in database.execute("SELECT text FROM name")}
    assert "new" in names
    assert "old" not in names
