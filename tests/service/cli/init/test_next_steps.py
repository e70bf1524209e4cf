import shlex
from pathlib import Path

import pytest

from service.cli.init.next_steps import base_url, command_line, curl_line
from service.config.schema import ServerSettings


def test_a_command_names_its_settings_only_if_they_are_not_found_by_default(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GEMINI_GATEWAY_CONFIG", raising=False)
    assert command_line(Path("gateway.toml"), "serve") == "gemini-gateway serve"
    assert command_line(Path("its own.toml"), "serve") == "gemini-gateway serve --config 'its own.toml'"
    monkeypatch.setenv("GEMINI_GATEWAY_CONFIG", "elsewhere.toml")
    assert command_line(Path("gateway.toml"), "serve") == "gemini-gateway serve --config gateway.toml"


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000/gemini_official/v1"),
        ("0.0.0.0", "http://127.0.0.1:8000/gemini_official/v1"),
        ("::", "http://[::1]:8000/gemini_official/v1"),
        ("gateway.example", "http://gateway.example:8000/gemini_official/v1"),
    ],
)
def test_the_base_url_is_one_that_this_machine_can_open(host, url):
    assert base_url(ServerSettings(host=host)) == url


def test_the_curl_line_is_quoted_for_the_shell():
    words = shlex.split(curl_line("http://h/v1", "it's; a $key"))
    assert words[:2] == ["curl", "http://h/v1/chat/completions"]
    assert "Authorization: Bearer it's; a $key" in words
