"""Gateways that are killed under load lose no usage and count none twice; `make kills` is the long form."""

from tests.kills import compare, ledger_of, run

KILLS = 50


def test_the_ledger_has_what_clients_counted_though_gateways_are_killed(tmp_path):
    whole, cut, _ = compare(run(KILLS, tmp_path), ledger_of(tmp_path))
    assert whole >= KILLS
    assert cut
    assert not list(tmp_path.glob("usage.sqlite3.journal/*"))
