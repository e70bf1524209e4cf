"""A collector of OpenTelemetry's: it takes spans by OTLP over HTTP, on a port of its own, and keeps them."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


class Seen:
    """An exported span."""

    def __init__(self, span, resource):
        self.name, self.id, self.parent, self.trace = span.name, span.span_id, span.parent_span_id, span.trace_id.hex()
        self.kind, self.status = span.kind, span.status.code
        self.attributes, self.resource = values(span.attributes), values(resource.attributes)
        self.events = [event.name for event in span.events]
        self.began, self.ended = span.start_time_unix_nano, span.end_time_unix_nano

    def __repr__(self):
        return f"{self.name} {self.attributes} {self.events} {self.status}"


def values(attributes):
    return {one.key: value_of(one.value) for one in attributes}


def value_of(value):
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [value_of(one) for one in value.array_value.values]
    return getattr(value, kind)


class Collector:
    def __init__(self, port):
        self.url = f"http://127.0.0.1:{port}/v1/traces"
        self.spans, self.headers, self.received = [], [], b""
        self._moved = threading.Condition()

    def take(self, headers, body):
        sent = ExportTraceServiceRequest.FromString(body)
        with self._moved:
            self.headers.append({name.lower(): value for name, value in headers.items()})
            self.received += body
            for of in sent.resource_spans:
                for scope in of.scope_spans:
                    self.spans += [Seen(span, of.resource) for span in scope.spans]
            self._moved.notify_all()

    def wait_for(self, done):
        """Wait until `done(spans)` is true; return the spans."""
        with self._moved:
            assert self._moved.wait_for(lambda: done(self.spans), 20), self.spans
            return list(self.spans)

    def named(self, name):
        return [span for span in self.spans if span.name == name]


@contextmanager
def collecting():
    """Yield a collector that listens."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            assert (self.path, self.headers["content-type"]) == ("/v1/traces", "application/x-protobuf")
            collector.take(self.headers, self.rfile.read(int(self.headers["content-length"])))
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector = Collector(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
