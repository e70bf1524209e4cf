"""What an operator does to gateways that are asked all the time, one step after the other."""

import signal

import anyio

from tests.rollout.fleet import CHANGED, CHANGING
from transports import simulator


async def _until(test, seconds=90):
    with anyio.fail_after(seconds):
        while not await test():
            await anyio.sleep(0.05)


async def change_secrets(fleet):
    """Give a license another key and an account another session; return when every gateway has taken both."""
    count = len(fleet.gateways)
    assert (await fleet.accepted(CHANGING), await fleet.accepted(CHANGED)) == (count, 0)
    fleet.change("license", CHANGED)
    fleet.change("cookies", simulator.export_of(fleet.sessions[2]))

    async def changed():
        return (await fleet.accepted(CHANGING), await fleet.accepted(CHANGED)) == (0, count)

    await _until(changed)


async def restart(fleet, gateway):
    """Restart a gateway; return what the balancer's check came to when it took it out, and the exit status."""
    gateway.signal(signal.SIGTERM)
    code = await fleet.balancer.until(gateway.name, "DOWN")
    status = await anyio.to_thread.run_sync(gateway._popen.wait, 60)
    await gateway.start()
    await fleet.balancer.until(gateway.name, "UP")
    return code, status


async def lose(fleet, gateway):
    """Kill a gateway in the middle of a video; return what becomes of the video at the others."""
    video = await fleet.call(
        "POST",
        f"{gateway.origin}/v1/videos",
        json={"model": "gemini-3-pro", "prompt": '<sim ready="3"/> a boat', "seconds": "8"},
    )

    async def begun():
        return (await fleet.job(video["id"])).handle is not None

    await _until(begun)
    await gateway.killed()
    await fleet.balancer.until(gateway.name, "DOWN")

    async def over():
        return await _state(fleet, video["id"], fleet.balancer.url) in {"completed", "failed"}

    await _until(over, 60)
    resumed = [other.name for other in fleet.gateways if "job_resumed" in fleet.log_of(other)]
    return await _state(fleet, video["id"], fleet.balancer.url), resumed


async def _state(fleet, video, url):
    return (await fleet.call("GET", f"{url}/videos/{video}"))["status"]
