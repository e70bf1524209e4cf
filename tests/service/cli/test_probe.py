import http.server
import subprocess
import sys
import threading

import pytest

from service.cli.probe import is_probe, probe
from tests.conftest import ROOT


@pytest.fixture
def server():
    """A server that answers the status that its path names, and is silent to `/0`."""
    never = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            status = int(self.path[1:])
            if not status:
                never.wait(10)
                return
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{serving.server_port}"
        never.set()
        serving.shutdown()


def test_status_200_is_success_and_anything_else_is_reported_in_one_line(server, capfd, monkeypatch):
    assert probe(f"{server}/200") == 0
    assert capfd.readouterr().err == ""
    monkeypatch.setattr("service.cli.probe.SECONDS", 0.2)
    for url, words in [
        (f"{server}/503", "answered 503"),
        (f"{server}/302", "answered 302"),
        (f"{server}/0", "no answer within 0.2 seconds"),
        ("http://127.0.0.1:1/livez", "Connection refused"),
        ("ftp://x", "expected an http:// or https:// URL"),
        ("http://127.0.0.1:x/", "Port"),
    ]:
        assert probe(url) == 1
        message = capfd.readouterr().err
        assert words in message
        assert len(message.splitlines()) == 1


def test_the_command_is_distinguished_from_its_help():
    assert is_probe(["probe", "http://x"])
    assert not is_probe(["probe", "--help"])
    assert not is_probe(["serve"])


def test_probe_imports_nothing_of_the_service(server):
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['gemini-gateway', 'probe', '{server}/200']\n"
        "try: runpy.run_module('service', run_name='__main__')\n"
        "except SystemExit as end: print(end.code, {'service.cli.main', 'anyio'} & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0 set()"
