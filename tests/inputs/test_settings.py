"""Settings ignore the characters that editors and shells add. An error names the setting and gives an example."""

import os

import pytest
from msgspec import inspect

from service.check import check
from service.config.expected import bare, expected, fields_of
from service.config.loader import origin_of
from service.config.schema import Settings, SettingsError, load
from service.wiring import transport_settings
from tests.conftest import KEY, SETTINGS, Gateway
from transports.web.config import WebConfig

TOML = '[server]\nport = 9000\n[[licenses]]\nid = "é"\nkey = " sk-test-q7Lw9ZkT3vXn5RbY2mHc8JdF "\n'


@pytest.mark.parametrize("newline", ["\n", "\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("around", ["", "\n\n  \n"], ids=["bare", "blank"])
def test_a_settings_file_reads_the_same_however_it_was_saved(tmp_path, encoding, newline, around):
    path = tmp_path / "gateway.toml"
    path.write_bytes((around + TOML + around).replace("\n", newline).encode(encoding))
    settings = load(path, {})
    assert (settings.server.port, settings.licenses[0].id, settings.licenses[0].key) == (9000, "é", KEY)


VARIABLES = [
    ("SERVER__PORT", " 9000 ", 9000),
    ("SERVER__PORT", "9000\r\n", 9000),
    ("SERVER__PORT", '"9000"', 9000),
    ("SERVER__PORT", "\ufeff9000", 9000),
    ("server__port", "9000", 9000),
    ("SERVER__PORT", "", 8000),
    ("SERVER__HOST", "", "127.0.0.1"),
    ("LOG__LEVEL", "INFO", "info"),
    ("LOG__LEVEL", " Warning\n", "warning"),
    *(("FETCH__ENABLED", word, True) for word in ("yes", "on", "1", "true", "True", "TRUE", " y ")),
    *(("FETCH__ENABLED", word, False) for word in ("no", "off", "0", "false", "False", "N")),
    ("SERVER__CORS_ORIGINS", "*", ("*",)),
    ("SERVER__CORS_ORIGINS", "https://a", ("https://a",)),
    ("SERVER__CORS_ORIGINS", "https://a,https://b:8443", ("https://a", "https://b:8443")),
    ("SERVER__CORS_ORIGINS", "https://a https://b", ("https://a", "https://b")),
    ("SERVER__CORS_ORIGINS", '["https://a", "https://b"]', ("https://a", "https://b")),
    ("SERVER__CORS_ORIGINS", "['https://a',]", ("https://a",)),
    ("SERVER__TRUSTED_PROXIES", "10.0.0.0/8, ::1", ("10.0.0.0/8", "::1")),
    ("LIMITS__BODY_BYTES", "64MiB", 64 * 1024 * 1024),
    ("LIMITS__BODY_BYTES", "1_000_000", 1000000),
    ("DRAIN__GRACE_SECONDS", "2 min", 120.0),
    ("DRAIN__GRACE_SECONDS", "1.5", 1.5),
    ("MEDIA__LINK_TTL_SECONDS", "12h", 43200.0),
    ("TRACING__SAMPLE_RATIO", "0.25", 0.25),
]


@pytest.mark.parametrize(("name", "text", "value"), VARIABLES)
def test_a_variable_is_read_as_people_write_it(name, text, value):
    prefix = "gemini_gateway__" if name.islower() else "GEMINI_GATEWAY__"
    section, _, key = name.lower().partition("__")
    assert getattr(getattr(load(None, {prefix + name: text}), section), key) == value


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("GEMINI_GATEWAY__SERVER__PORT", "http", ["whole number from 0 to 65535", "GEMINI_GATEWAY__SERVER__PORT=8000"]),
        ("GEMINI_GATEWAY__SERVER__PORT", "80.5", ["whole number"]),
        ("GEMINI_GATEWAY__SERVER__PORT", "70000", ["65535"]),
        ("GEMINI_GATEWAY__SERVER__PORT", "[8000]", ["whole number"]),
        ("GEMINI_GATEWAY__LOG__LEVEL", "loud", ["one of: debug, error, info, warning", "LOG__LEVEL=info"]),
        ("GEMINI_GATEWAY__FETCH__ENABLED", "perhaps", ["true or false", "FETCH__ENABLED=false"]),
        ("GEMINI_GATEWAY__SERVER__CORS_ORIGINS", "app.example", ["`*`, or an origin", "https://app.example"]),
        ("GEMINI_GATEWAY__SERVER__CORS_ORIGINS", "https://*.a.example", ["without a path or a wildcard"]),
        ("GEMINI_GATEWAY__SERVER__PREFIX", "gemini", ["begins with a slash", "PREFIX=/gemini_official"]),
        ("GEMINI_GATEWAY__SERVER__PREFIX", "/a/", ["does not end with one"]),
        ("GEMINI_GATEWAY__SERVER__PUBLIC_URL", "h.example", ["https://HOST", "PUBLIC_URL=https://gateway.example"]),
        ("GEMINI_GATEWAY__SERVER__PUBLIC_URL", "https://h/a?b", ["without a user name or a query"]),
        ("GEMINI_GATEWAY__SERVER__HOST", "\udcff\udcfe", ["is not UTF-8 text"]),
        ("GEMINI_GATEWAY__FETCH__ALLOW", "https://a.example", ["fetch.allow[0]", "without a scheme", "*.cdn.example"]),
        ("GEMINI_GATEWAY__FETCH__ALLOW", "*", ["an empty list allows any"]),
        ("GEMINI_GATEWAY__FETCH__ALLOW", "a.example:443", ["port"]),
        ("GEMINI_GATEWAY__TRACING__ENDPOINT", "localhost:4318", ["an http or https URL", "ENDPOINT=http://127.0.0.1"]),
        ("GEMINI_GATEWAY__STORE__PREFIX", "a b", ["letters, digits", "PREFIX=gw"]),
        ("GEMINI_GATEWAY__LICENSES", "one", ["expected a list", '[{"id": "text"}]']),
        ("GEMINI_GATEWAY__LICENSES__0__ID", "one", ["licenses", "expected a list"]),
        ("GEMINI_GATEWAY__SERVER", "9000", ["server", "expected a table"]),
        ("GEMINI_GATEWAY__SERVER__PROT", "1", ["did you mean port?"]),
        ("GEMINI_GATEWAY__SERVR__PORT", "1", ["did you mean GEMINI_GATEWAY__SERVER__PORT?"]),
        ("GEMINI_GATEWAY__SERVER_PORT", "1", ["did you mean GEMINI_GATEWAY__SERVER__PORT?"]),
        ("GEMINI_GATEWAY_SERVER__PORT", "1", ["did you mean GEMINI_GATEWAY__SERVER__PORT?"]),
        ("GEMINI_GATEWAY__WEATHER__X", "1", ["sections: server, "]),
        ("GEMINI_GATEWAY__TRANSPORTS__WEB__GUEST", "maybe", ["true or false", "WEB__GUEST=true"]),
        ("GEMINI_GATEWAY__TRANSPORTS__WEB__ACCOUNTS", '[{"id": "a", "weight": "x"}]', ["accounts[0].weight", "number"]),
        (
            "GEMINI_GATEWAY__TRANSPORTS__WEB__ACCOUNTS",
            '[{"id": "a b"}]',
            ["accounts[0].id", "letters, digits", "first"],
        ),
        (
            "GEMINI_GATEWAY__TRANSPORTS__WEB__ACCOUNTS",
            '[{"id": "a", "proxy": "127.0.0.1:8080"}]',
            ["accounts[0].proxy", "SCHEME://USER:PASSWORD@HOST:PORT", "http://proxy.example:3128"],
        ),
        (
            "GEMINI_GATEWAY__TRANSPORTS__WEB__ACCOUNTS",
            '[{"id": "a", "per_day": {"vidoe": 3}}]',
            ["accounts[0].per_day", "expected as a key one of: chat, imagen, video"],
        ),
    ],
)
def test_a_wrong_variable_is_named_with_what_goes(name, text, words):
    environment = {name: text}
    with pytest.raises(SettingsError) as caught:
        transport_settings(load(None, environment), origin_of(None, environment))
    message = str(caught.value)
    assert name in message
    assert all(word in message for word in words), message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("GEMINI_GATEWAY__SERVER__TRUSTED_PROXIES", "*", "expected an address or a network as 10.0.0.0/8"),
        ("GEMINI_GATEWAY__SERVER__PUBLIC_URL", "https://[::1", "write the URL as https://HOST"),
        ("GEMINI_GATEWAY__MODELS__ALIASES__A", "no-such-model", "not in the catalogue"),
        ("GEMINI_GATEWAY__FETCH__DENY", "10.0.0.0/99", "not a valid network"),
        ("GEMINI_GATEWAY__LICENSES", '{"id": "a", "key": "short"}', "a license key is"),
        ("GEMINI_GATEWAY__STORE__PATH", "/proc/x.sqlite3", "/proc takes no files"),
        ("GEMINI_GATEWAY__MEDIA__CACHE_DIR", "/proc/media", "/proc takes no files"),
    ],
)
def test_what_serve_needs_is_checked_and_the_variable_named(tmp_path, name, text, words):
    environment = {"GEMINI_GATEWAY__TRANSPORTS__SIMULATOR": "{}", name: text}
    settings = load(None, environment)
    path = settings.store.path if settings.store.path.is_absolute() else tmp_path / settings.store.path
    with pytest.raises(SettingsError) as caught:
        check(settings, origin_of(None, environment), path)
    assert str(caught.value).startswith(f"the environment ({name}): ")
    assert words in str(caught.value)


def patterns(shape, path=""):
    """Yield each text of a schema that has a pattern, with its path."""
    if isinstance(bare(shape), inspect.StructType):
        for field in fields_of(shape):
            yield from patterns(field.type, f"{path}.{field.encode_name}")
    elif isinstance(bare(shape), inspect.VarTupleType):
        yield from patterns(bare(shape).item_type, f"{path}[0]")
    elif isinstance(bare(shape), inspect.StrType) and bare(shape).pattern:
        yield path, shape, bare(shape).pattern


PATTERNS = [found for section in (Settings, WebConfig) for found in patterns(inspect.type_info(section))]


@pytest.mark.parametrize(("path", "shape", "pattern"), PATTERNS, ids=[path for path, *_ in PATTERNS])
def test_every_text_with_a_pattern_says_what_goes(path, shape, pattern):
    assert expected(shape) != "text"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_gateway_runs_with_files_of_a_windows_editor(tmp_path, encoding):
    (tmp_path / "key").write_bytes(f"{KEY}\r\n".encode(encoding))
    settings = SETTINGS.replace('key = "{key}"', 'key_file = "key"')
    gateway = Gateway(tmp_path, settings, env={**os.environ, "GEMINI_GATEWAY__LOG__LEVEL": "INFO\r\n"})
    gateway.stop()
    assert gateway.status() == 0
