import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.error import HTTPError

import pytest

from deployments.stack.prepare_work_pool import create_pool, process_template


class _Server(HTTPServer):
    answer = 201
    body = b""


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        self.server.body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(self.server.answer)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        return None


@pytest.fixture
def server() -> Iterator[_Server]:
    with _Server(("127.0.0.1", 0), _Handler) as found:
        threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield found
        found.shutdown()


@pytest.mark.parametrize(("answer", "made"), [(201, True), (409, False)])
def test_a_pool_is_made_once(server: _Server, answer: int, made: bool) -> None:
    server.answer = answer
    assert create_pool(f"http://127.0.0.1:{server.server_port}/api", "local", {}) is made
    assert b'"type": "process"' in server.body


def test_a_refusal_is_an_error(server: _Server) -> None:
    server.answer = 422
    with pytest.raises(HTTPError):
        create_pool(f"http://127.0.0.1:{server.server_port}/api", "local", {})


def test_the_pinned_prefect_brings_its_template() -> None:
    assert "job_configuration" in process_template()
