"""A rollout of real gateways behind a real balancer, in short; `make rollout-test` is the long one."""

from tests.rollout.trial import trial

REQUESTS = 600


async def test_a_rollout_fails_no_request_and_loses_no_video(
    tmp_path,
):
    seen = await trial(tmp_path, REQUESTS)
    assert seen.failures == []
    assert seen.requests >= REQUESTS
    assert seen.restarts == [("503", 0)] * 3, "the balancer is to see that a gateway leaves before it refuses anything"
    assert seen.video == "completed"
    assert seen.adopted_by
