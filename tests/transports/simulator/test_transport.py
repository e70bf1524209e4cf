from protocol.model import Media, Rendition
from tests.transports.conftest import FAST, asking, deps_for, request_for
from transports import simulator


async def test_pictures_reach_the_gateway_over_another_spelling_of_the_host():
    config = simulator.SimulatorConfig(pace=FAST, media_redirect="host")
    async with simulator.TRANSPORT_TYPE.connect(config, deps_for()) as transport:
        (account,) = [account for account in transport.accounts if not account.guest]
        async with asking(transport, request_for("a fox", "gemini-3-pro-imagen"), account) as answer:
            (media,) = [event async for event in answer if isinstance(event, Media)]
        async with transport.media(media.ref, Rendition.USUAL) as stream:
            content = b"".join([chunk async for chunk in stream])
    assert stream.mime == "image/jpeg"
    assert content.startswith(b"\xff\xd8\xff")
