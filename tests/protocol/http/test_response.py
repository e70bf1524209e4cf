import anyio
from starlette.responses import Response

from protocol.http.response import WholeResponse
from protocol.model import UpstreamFailed


def refuse(error):
    return Response(error.code, 418)


async def test_the_result_of_the_work_is_the_response(connect):
    connection = connect()

    async def work():
        return Response("done")

    await WholeResponse(work, refuse)(connection.scope, connection.receive, connection.send)
    assert (connection.status, connection.body) == (200, b"done")


async def test_an_error_is_written_in_the_dialect(connect):
    connection = connect()

    async def work():
        raise UpstreamFailed("x", code="upstream_reset")

    await WholeResponse(work, refuse)(connection.scope, connection.receive, connection.send)
    assert (connection.status, connection.body) == (418, b"upstream_reset")


async def test_a_disconnect_cancels_the_work_of_a_response(connect):
    connection = connect()
    cancelled = False

    async def work():
        nonlocal cancelled
        connection.leave()
        try:
            await anyio.sleep_forever()
        finally:
            cancelled = True

    await WholeResponse(work, refuse)(connection.scope, connection.receive, connection.send)
    assert cancelled
    assert connection.sent == []
    assert connection.context.record.error == "client_closed_request"


async def test_shutdown_is_reported_as_an_error(connect):
    connection = connect()
    connection.closing.set()
    await WholeResponse(anyio.sleep_forever, refuse)(connection.scope, connection.receive, connection.send)
    assert (connection.status, connection.body) == (418, b"shutting_down")
