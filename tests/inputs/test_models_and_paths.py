"""However a client writes base URL and model, it gets there or learns how to write them; a real gateway answers."""

import http.client
import json
from urllib.parse import quote, urlsplit

import openai
import pytest

from tests.conftest import KEY, SETTINGS, Gateway

NARROW = "sk-test-narrow-0123456789abcdef"
NARROWED = f"""
[[licenses]]
id = "narrow"
key = "{NARROW}"
models = ["gemini-3-pro", "drawer*", "google/*", "GEMINI-*", "*:latest", "models*"]

[models.aliases]
drawer = "gemini-3.5-flash"
"""
"""A license of one model, of an alias with its suffixes, and of patterns that only other spellings would match."""


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    process = Gateway(tmp_path_factory.mktemp("paths"), SETTINGS.format(key=KEY) + NARROWED)
    yield process
    process.stop()


def ask(gateway, method, path, body=None, key=KEY):
    """Send a request with exactly this path; return the response and its JSON, if it has any."""
    address = urlsplit(gateway.origin)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=90)
    try:
        data = None if body is None else json.dumps(body)
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        connection.request(method, path, data, headers)
        response = connection.getresponse()
        content = response.read()
        return response, json.loads(content) if content else None
    finally:
        connection.close()


ENDPOINTS = {
    "chat": ("POST", "/chat/completions", {"model": "gemini-3-pro", "messages": [{"role": "user", "content": "hi"}]}),
    "images": ("POST", "/images/generations", {"model": "gemini-3-pro-imagen", "prompt": "a dot"}),
    "videos": ("GET", "/videos", None),
    "models": ("GET", "/models", None),
    "model": ("GET", "/models/gemini-3-pro", None),
}
BASES = [
    "/gemini_official/v1",
    "/v1",
    "/gemini_official/v1/",
    "/gemini_official//v1",
    "//gemini_official/v1",
    "//v1/",
    "/gemini_official/v1/v1",
    "/v1/v1/v1",
    "/gemini_official",
    "/gemini_official/gemini_official/v1",
    "/gemini_official/v1/gemini_official/v1",
    "/v1/gemini_official",
    "/GEMINI_OFFICIAL/V1",
    "/Gemini_Official/v1",
    "/gemini%5Fofficial/%761",
    "/gemini_official/%76%31",
    "/./gemini_official/./v1/.",
    "/elsewhere/../gemini_official/v1",
    "/gemini_official/x/%2e%2E/v1",
    "/gemini_official;v=1/v1;jsessionid=0",
    "/gemini_official/v1%20",
    "",
]


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_every_way_to_write_the_base_url_leads_to_the_endpoint(paths, endpoint, base):
    method, path, body = ENDPOINTS[endpoint]
    response, answer = ask(paths, method, base + path, body)
    assert (response.status, "error" in answer) == (200, False), answer


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize(
    "vary",
    [str.upper, str.title, "{}/".format, "{}//".format, "{}?api-version=2024-10-21".format, "{};v=1".format,
     "{}%0A".format, "{}/.".format, "{}?".format, lambda path: path.replace("/", "//"),
     lambda path: path[0] + "".join(f"%{ord(c):02X}" if c.isalpha() else c for c in path[1:])],
)  # fmt: skip
def test_every_way_to_write_the_rest_leads_to_the_endpoint(paths, endpoint, vary):
    method, path, body = ENDPOINTS[endpoint]
    response, answer = ask(paths, method, "/gemini_official/v1" + vary(path), body)
    assert (response.status, "error" in answer) == (200, False), answer


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/"),
        ("GET", "/"),
        ("GET", "/gemini_official/v1"),
        ("POST", "/api/chat/completions"),
        ("POST", "/openai/chat/completions"),
        ("POST", "/v2/chat/completions"),
        ("POST", "/v1/chat/completions/chat/completions"),
        ("POST", "/gemini_official/v1/chat"),
        ("POST", "/gemini_official/v1/%2576%2531/models"),
        ("POST", "/gemini-official/v1/chat/completions"),
        ("POST", "/openai/deployments/gemini-3-pro/chat/completions?api-version=2024-10-21"),
        ("POST", "/gemini_official/v1/OpenAI/Deployments/x/images/generations"),
        ("OPTIONS", "/nowhere"),
        ("DELETE", "/gemini_official/livez"),
    ],
)
def test_an_unknown_path_gets_the_whole_base_url_without_a_redirect(paths, method, path):
    response, answer = ask(paths, method, path, {})
    assert response.status == 404
    assert answer["error"]["code"] == "not_found"
    assert f"'{paths.base_url}'" in answer["error"]["message"]
    assert response.getheader("location") is None


def test_a_path_below_another_endpoint_gets_the_whole_base_url(paths):
    response, answer = ask(paths, "POST", "/v1/models/chat/completions", {})
    assert (response.status, response.getheader("allow")) == (405, "GET, HEAD, OPTIONS")
    assert f"'{paths.base_url}'" in answer["error"]["message"]


@pytest.mark.parametrize("path", ["//livez", "/LIVEZ", "/livez/", "/metrics;v=1", "/v1/metrics", "/x/../metrics"])
def test_probes_and_metrics_have_one_spelling(paths, path):
    assert ask(paths, "GET", path)[0].status == 404


@pytest.mark.parametrize("path", ["/v1/models", "/gemini_official//V1/models/gemini-3-pro/", "/models"])
def test_head_gets_the_head_of_the_response(paths, path):
    response, answer = ask(paths, "HEAD", path)
    assert (response.status, answer) == (200, None)
    assert int(response.getheader("content-length")) > 0


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/gemini_official/v1/chat/completions", "OPTIONS, POST"),
        ("/V1//models/", "GET, HEAD, OPTIONS"),
        ("/v1/videos", "GET, HEAD, OPTIONS, POST"),
        ("/v1/videos/video_1", "DELETE, GET, HEAD, OPTIONS"),
    ],
)
def test_options_and_wrong_methods_get_the_methods_of_a_path(paths, path, methods):
    response, answer = ask(paths, "OPTIONS", path, key="")
    assert (response.status, response.getheader("allow"), answer) == (204, methods, None)
    response, answer = ask(paths, "PATCH", path)
    assert (response.status, response.getheader("allow")) == (405, methods)
    assert answer["error"]["code"] == "method_not_allowed"


def test_the_links_of_an_answer_open_in_every_spelling_of_the_base_url(paths):
    method, path, body = ENDPOINTS["images"]
    _, answer = ask(paths, method, "/v1/v1" + path, body)
    link = answer["data"][0]["url"]
    token = link.removeprefix(f"{paths.origin}/gemini_official/media/")
    for base in ("/gemini_official/media/", "//media/", "/Media//", "/v1/media/"):
        address = urlsplit(paths.origin)
        connection = http.client.HTTPConnection(address.hostname, address.port, timeout=90)
        connection.request("GET", base + token)
        response = connection.getresponse()
        assert (response.status, response.getheader("content-type")) == (200, "image/jpeg")
        connection.close()
    assert ask(paths, "GET", "/media/" + token.swapcase())[0].status == 404


MODELS = {
    "gemini-3-pro": ["models/{}", "google/{}", "gemini/{}", "openai/{}", "openrouter/google/{}", "google-gla:{}",
                     "publishers/google/models/{}", " {} ", "{}\n", "{}:latest", "google/{}@default", "/{}/"],
    "gemini-3-pro-imagen": ["models/{}", "Google/{}:latest"],
    "gemini-2.5-pro-canvas": ["models/{}"],
    "gemini-3.5-flash-extended": ["vertex_ai/{}"],
    "drawer-imagen": ["openai/{}", "{}:latest"],
}  # fmt: skip
SPELLINGS = [
    (written, model)
    for model, forms in MODELS.items()
    for form in ["{}", *forms]
    for written in (form.format(model), form.format(model).upper(), form.format(model).title())
]


@pytest.mark.parametrize(("written", "model"), SPELLINGS)
def test_every_way_to_write_a_model_selects_it(paths, written, model):
    response, answer = ask(paths, "GET", f"/v1/models/{quote(written, safe='')}")
    assert (response.status, answer["id"]) == (200, model)
    response, answer = ask(paths, "GET", f"/v1/models/{quote(written)}/")
    assert (response.status, answer["id"]) == (200, model)


@pytest.mark.parametrize("written", ["models/gemini-3-pro", "GOOGLE/GEMINI-3-PRO", " gemini-3-pro:latest "])
@pytest.mark.parametrize(
    ("endpoint", "model"), [("chat", "gemini-3-pro"), ("images", "gemini-3-pro-imagen"), ("videos", None)]
)
def test_every_endpoint_takes_every_way_to_write_a_model(paths, endpoint, model, written):
    _, path, body = ENDPOINTS[endpoint]
    body = {**(body or {"prompt": "a dot"}), "model": written}
    response, answer = ask(paths, "POST", f"/v1{path}", body)
    assert response.status == 200, answer
    assert endpoint != "chat" or answer["model"] == model
    assert f'"{written}"' not in paths.text()


@pytest.mark.parametrize(
    ("written", "near"),
    [
        ("google/gemini-3-por", "gemini-3-pro"),
        ("GEMINI_3_PRO", "gemini-3-pro"),
        ("gemini-3-pro-imagne", "gemini-3-pro-imagen"),
        ("gemini-2.5-flash:other", "gemini-2.5-flash"),
        ("gemini-3-pro:deep", "gemini-3-pro"),
    ],
)
@pytest.mark.parametrize("endpoint", ["chat", "images", "videos", "model"])
def test_an_unknown_model_is_a_404_with_the_nearest_names(paths, endpoint, written, near):
    _, path, body = ENDPOINTS[endpoint]
    if endpoint == "model":
        response, answer = ask(paths, "GET", f"/v1/models/{quote(written, safe='')}")
    else:
        response, answer = ask(paths, "POST", f"/v1{path}", {**(body or {"prompt": "a dot"}), "model": written})
    assert response.status == 404
    assert (answer["error"]["code"], answer["error"]["param"]) == ("model_not_found", "model")
    assert f"'{near}'" in answer["error"]["message"]


@pytest.mark.parametrize(
    ("endpoint", "model", "status"),
    [
        ("chat", "gemini-3-pro", 200),
        ("chat", "models/GEMINI-3-PRO:latest", 200),
        ("chat", "openai/Drawer", 200),
        ("images", "drawer", 200),
        ("images", "Drawer-Imagen:latest", 200),
        ("chat", "google/gemini-3.1-pro", 403),
        ("chat", "GEMINI-3.1-PRO", 403),
        ("chat", "gemini-3.1-pro:latest", 403),
        ("chat", "models/gemini-3.1-pro", 403),
        ("chat", "gemini-3.5-flash", 403),
        ("chat", "gemini-3-pro-extended", 403),
        ("images", "gemini-3-pro", 403),
        ("images", "google/gemini-3-pro-imagen", 403),
        ("videos", "gemini-3-pro", 403),
        ("videos", "models/gemini-3-pro:latest", 403),
    ],
)
def test_no_spelling_widens_a_license(paths, endpoint, model, status):
    _, path, body = ENDPOINTS[endpoint]
    for base in ("/v1", "//V1/v1"):
        body = {**(body or {"prompt": "a dot"}), "model": model}
        response, answer = ask(paths, "POST", base + path, body, key=NARROW)
        assert response.status == status, answer
    if endpoint == "chat":
        assert ask(paths, "GET", f"/v1/models/{quote(model, safe='')}", key=NARROW)[0].status == status


@pytest.mark.parametrize("base", ["/gemini_official/v1/", "//V1", "/gemini_official", ""])
def test_the_official_sdk_works_with_every_base_url(paths, base):
    with openai.OpenAI(base_url=paths.origin + base, api_key=KEY, max_retries=0) as client:
        messages = [{"role": "user", "content": "hi"}]
        answer = client.chat.completions.create(model="google/gemini-3-pro", messages=messages)
        assert answer.model == "gemini-3-pro"
        assert client.models.retrieve("models/gemini-3-pro").id == "gemini-3-pro"


def test_the_azure_sdk_learns_the_base_url(paths):
    client = openai.AzureOpenAI(azure_endpoint=paths.origin, api_key=KEY, api_version="2024-10-21", max_retries=0)
    with client, pytest.raises(openai.NotFoundError, match=paths.base_url):
        client.chat.completions.create(model="gemini-3-pro", messages=[{"role": "user", "content": "hi"}])
