import pytest

from transports.simulator import SimulatedAccount, read_account


def test_an_account_is_read_from_one_line():
    assert read_account("a") == SimulatedAccount(psid="a")
    assert read_account("a:b:pro:3:1021") == SimulatedAccount(psid="a", psidts="b", plan="pro", quota=3, status=1021)
    assert read_account("a::free::0") == SimulatedAccount(psid="a", plan="free", status=0)


@pytest.mark.parametrize("text", ["", ":b", "a:b:golden", "a:b:pro:x", "a:b:pro:-1", "a:b:pro:1:1000:more"])
def test_an_invalid_account_is_explained(text):
    with pytest.raises(ValueError, match="PSID:PSIDTS:PLAN"):
        read_account(text)
