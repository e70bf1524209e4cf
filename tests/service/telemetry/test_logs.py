import json
import logging

import pytest
import structlog

from service.config.schema import LogSettings
from service.telemetry.logs import configure, redacted


@pytest.fixture
def logged(capsys):
    def lines(form):
        configure(LogSettings(format=form))
        return lambda: capsys.readouterr().err

    yield lines
    structlog.reset_defaults()
    logging.basicConfig(force=True)


@pytest.mark.parametrize(
    "secret",
    [
        "__Secure-1PSID=g.a000abc",
        "__Secure-1PSIDTS=sidts-abc",
        "SAPISID=abc/def",
        "Bearer sk-anything-abc",
        "sk-gg-abcdefghijklmnop",
    ],
)
def test_values_that_look_like_secrets_are_redacted(secret):
    value = secret.rpartition("=")[2].rpartition(" ")[2]
    assert value not in redacted(f'{{"x": "a {secret}; b"}}')
    assert "b" in redacted(f"a {secret}; b")


def test_each_json_event_is_one_line_for_any_value(logged):
    output = logged("json")
    structlog.get_logger().info("event", value='a\nb\x1b[31m\u2028{"x"', key="sk-gg-abcdefghijklmnop")
    line = output()
    assert line.count("\n") == 1
    assert json.loads(line)["value"] == 'a\nb\x1b[31m\u2028{"x"'
    assert "abcdefgh" not in line


@pytest.mark.parametrize("secret", ['Bearer ab"cd,ef\\gh', "Bearer abcdefgh", "__Secure-1PSID=abcd"])
def test_each_json_event_stays_valid_after_redaction(logged, secret):
    class Thing:
        def __repr__(self):
            return f"Thing({secret})"

    output = logged("json")
    try:
        int(f"it was {secret}")
    except ValueError:
        structlog.get_logger().exception("event", text=secret, deep={"list": [f"a {secret}", 1, None]}, thing=Thing())
    line = output()
    event = json.loads(line)
    assert event["deep"]["list"][1:] == [1, None]
    assert "abcd" not in line
    assert "cd,ef" not in line
    assert "gh" not in event["text"]


@pytest.mark.parametrize("secret", ["nothing", "Bearer abcdefgh"])
def test_values_that_json_cannot_represent_are_logged_as_text(logged, secret):
    output = logged("json")
    structlog.get_logger().info("event", table={("a", 1): secret, "kind": bytes}, several={secret})
    line = output()
    assert json.loads(line)["table"]["('a', 1)"] == secret.replace("abcdefgh", "***")
    assert "abcd" not in line


def test_the_console_shows_no_control_characters(logged):
    output = logged("console")
    structlog.get_logger().info("event", value="a\nb\x1b[31mc")
    line = output()
    assert line.count("\n") == 1
    assert "\x1b[31mc" not in line


@pytest.mark.parametrize("form", ["json", "console"])
def test_an_exception_shows_no_local_variables(logged, form):
    output = logged(form)
    hidden = "local-secret-value"
    try:
        int("x")
    except ValueError:
        structlog.get_logger().exception("failed")
    text = output()
    assert "ValueError" in text
    assert hidden not in text.replace('hidden = "local-secret-value"', "")


def test_the_standard_librarys_logs_take_the_same_form(logged):
    output = logged("json")
    logging.getLogger("some.library").warning("cookie __Secure-1PSID=abc")
    line = json.loads(output())
    assert line["event"] == "cookie __Secure-1PSID=***"
