import pytest

from protocol.model import BadRequest
from service.fetch import refuse_to_fetch


async def test_without_leave_nothing_is_fetched():
    with pytest.raises(BadRequest) as caught:
        await refuse_to_fetch("https://example.com/x.png", most=1)
    assert caught.value.code == "image_url_not_allowed"
