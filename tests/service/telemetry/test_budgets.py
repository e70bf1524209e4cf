import pytest
from prometheus_client import CollectorRegistry

from protocol.http.budget import MIB, ByteBudget, Reservation
from protocol.http.spool import Spool
from protocol.model import Saturated
from service.telemetry.budgets import BudgetMetrics


async def test_metrics_show_reserved_bytes_waiting_and_refused_requests():
    memory, spool, registry = ByteBudget(10 * MIB, wait_seconds=0), Spool(total=100), CollectorRegistry()
    metrics = BudgetMetrics(memory, spool, registry)

    def shown(name):
        metrics.update()
        return registry.get_sample_value(f"gateway_{name}")

    hold = Reservation(memory)
    await hold.raise_to(8 * MIB)
    file = spool.file(1000)
    file.write(b"x" * 60)
    for _ in range(2):
        with pytest.raises(Saturated):
            await Reservation(memory).raise_to(4 * MIB)
    with pytest.raises(Saturated):
        file.write(b"x" * 60)
    assert (shown("body_memory_bytes"), shown("body_memory_limit_bytes")) == (8 * MIB, 10 * MIB)
    assert (shown("spool_bytes"), shown("spool_files"), shown("spool_limit_bytes")) == (60, 1, 100)
    assert (shown("body_memory_rejections_total"), shown("spool_rejections_total")) == (2, 1)
    assert shown("body_memory_queue_length") == 0
    hold.release()
    del file
    assert (shown("body_memory_bytes"), shown("spool_bytes"), shown("spool_files")) == (0, 0, 0)
    assert shown("body_memory_rejections_total") == 2
