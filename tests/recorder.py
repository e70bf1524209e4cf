"""A server between a gateway and the simulated official API, which keeps the bodies that pass."""

import json
import urllib.error
import urllib.request
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


@contextmanager
def recording(upstream):
    """Serve `upstream` at another address; yield the server, whose `bodies` are those of requests to a model."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            server.bodies.append(json.loads(body))
            self.forward(body)

        def do_GET(self):
            self.forward()

        def forward(self, body=None):
            headers = {name: self.headers[name] for name in ("x-goog-api-key", "content-type") if self.headers[name]}
            request = urllib.request.Request(upstream + self.path, body, headers)
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    status, kind, data = answer.status, answer.headers["content-type"], answer.read()
            except urllib.error.HTTPError as error:
                status, kind, data = error.code, error.headers["content-type"], error.read()
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.bodies, server.url = [], f"http://127.0.0.1:{server.server_port}"
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
