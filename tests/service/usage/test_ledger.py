"""The contract of all usage ledgers."""

from contextlib import asynccontextmanager, closing
from datetime import date
from zoneinfo import ZoneInfo

import pytest

from service.usage.ledger import Days, UsageQuery
from service.usage.sqlite_ledger import SqliteUsageLedger
from tests.service.usage.records import DAY, NOON, record

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.fixture
def opening(tmp_path):
    """Return a context manager that opens the ledger, again the same one."""

    @asynccontextmanager
    async def sqlite(days):
        with closing(SqliteUsageLedger(tmp_path / "usage.sqlite3", days)) as ledger:
            yield ledger

    return sqlite


@pytest.fixture
async def ledger(opening):
    async with opening(Days(ZoneInfo("UTC"), 90)) as one:
        yield one


async def test_sums_and_records_are_those_of_what_was_appended(ledger):
    first = record(images=2, reasoning_tokens=3, first_token=0.25, duration=1.5, user="ann")
    second = record(finished=NOON + 1, status=429, error="rate_limit_exceeded", input_tokens=0, output_tokens=0)
    await ledger.append([first, second])
    (sums,) = await ledger.sums(UsageQuery(by="license"))
    assert (sums.group, sums.requests, sums.errors) == ("customer", 2, 1)
    assert (sums.input_tokens, sums.output_tokens, sums.reasoning_tokens, sums.images) == (10, 5, 3, 2)
    assert await ledger.records() == [first, second]


async def test_a_record_that_is_appended_again_counts_once(ledger):
    one = record()
    await ledger.append([one, one])
    await ledger.append([one, record()])
    (sums,) = await ledger.sums(UsageQuery())
    assert sums.requests == 2
    assert len(await ledger.records()) == 2


async def test_a_job_that_two_processes_end_counts_once(ledger):
    await ledger.append([record(id="video_1", videos=1)])
    await ledger.append([record(id="video_1", videos=1, finished=NOON + 7)])
    (sums,) = await ledger.sums(UsageQuery())
    assert (sums.requests, sums.videos) == (1, 1)


@pytest.mark.parametrize("by", ["license", "user", "model", "account"])
async def test_groups_are_read_by_pages_in_order(ledger, by):
    names = [f"name-{number}" for number in range(7)]
    await ledger.append([record(**{by: name}) for name in reversed(names)])
    found, after = [], None
    while page := await ledger.sums(UsageQuery(by=by, after=after, limit=3)):
        found += [one.group for one in page]
        after = found[-1]
    assert found == names


async def test_records_of_a_license_are_read_by_pages(ledger):
    mine = [record(finished=NOON + number // 2, license="mine") for number in range(7)]
    await ledger.append([*mine, *(record() for _ in range(5))])
    found, after = [], None
    while page := await ledger.records(license_id="mine", after=after, limit=2):
        found += page
        after = (found[-1].finished, found[-1].id)
    assert sorted(one.id for one in found) == sorted(one.id for one in mine)
    assert [one.finished for one in found] == sorted(one.finished for one in found)


async def test_filters_and_days_narrow_the_sums(ledger):
    await ledger.append(
        [
            record(license="a", user="x"),
            record(license="b", user="x", finished=NOON + DAY),
            record(license="a", model="gemini-3-flash", finished=NOON + 2 * DAY),
        ]
    )

    async def groups(**query):
        return [(one.group, one.requests) for one in await ledger.sums(UsageQuery(**query))]

    assert await groups() == [("2026-12-01", 1), ("2026-12-02", 1), ("2026-12-03", 1)]
    assert await groups(after="2026-12-01", limit=1) == [("2026-12-02", 1)]
    assert await groups(by="license", user="x") == [("a", 1), ("b", 1)]
    assert await groups(by="model", license="a") == [("gemini-3-flash", 1), ("gemini-3-pro", 1)]
    assert await groups(by="license", since=date(2026, 12, 2)) == [("a", 1), ("b", 1)]
    assert await groups(by="license", until=date(2026, 12, 1)) == [("a", 1)]
    assert await groups(license="unknown") == []


async def test_a_day_begins_at_midnight_of_the_time_zone(opening):
    async with opening(Days(BERLIN, 90)) as ledger:
        await ledger.append([record(finished=NOON + 11 * 3600 - 1), record(finished=NOON + 11 * 3600)])
        assert [one.group for one in await ledger.sums(UsageQuery())] == ["2026-12-01", "2026-12-02"]


async def test_days_that_are_too_old_are_pruned(opening):
    async with opening(Days(BERLIN, 2)) as ledger:
        await ledger.append([record(finished=NOON + day * DAY) for day in range(4)])
        await ledger.prune(NOON + 3 * DAY)
        assert [one.group for one in await ledger.sums(UsageQuery())] == ["2026-12-03", "2026-12-04"]
        assert len(await ledger.records()) == 2


async def test_the_ledger_outlives_the_process(opening):
    days = Days(ZoneInfo("UTC"), 90)
    async with opening(days) as ledger:
        await ledger.append([record()])
    async with opening(days) as ledger:
        assert len(await ledger.records()) == 1
