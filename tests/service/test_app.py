import pytest
from starlette.routing import Route

from service.app import FixedPaths


def answers(name):
    """Return an ASGI app that notes that it was asked."""

    class App:
        async def __call__(self, scope, _receive, _send):
            scope["asked"].append((name, scope.get("path_params")))

    return App()


ROUTES = [
    Route("/models", answers("models"), methods=["GET"]),
    Route("/models/{model}", answers("model"), methods=["GET"]),
    Route("/models/behind", answers("behind"), methods=["GET"]),
    Route("/chat", answers("chat"), methods=["POST"]),
    Route("/chat", answers("second"), methods=["POST", "DELETE"]),
]


@pytest.mark.parametrize(
    ("method", "path", "who"),
    [
        ("GET", "/models", ("models", {})),
        ("HEAD", "/models", ("models", {})),
        ("POST", "/models", ("starlette", None)),
        ("GET", "/models/one", ("starlette", None)),
        ("GET", "/models/behind", ("starlette", None)),
        ("POST", "/chat", ("chat", {})),
        ("DELETE", "/chat", ("second", {})),
        ("POST", "/chat/", ("starlette", None)),
    ],
)
async def test_the_first_route_of_a_fixed_path_answers_and_starlette_the_rest(method, path, who):
    scope = {"type": "http", "method": method, "path": path, "asked": []}
    await FixedPaths(answers("starlette"), ROUTES)(scope, None, None)
    assert scope["asked"] == [who]


async def test_what_is_no_request_goes_on():
    scope = {"type": "lifespan", "asked": []}
    await FixedPaths(answers("starlette"), ROUTES)(scope, None, None)
    assert scope["asked"] == [("starlette", None)]
