"""A gateway of a few lines on loopback: documents in memory, errors in the real API's shape."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

KEY = "py_test"


class SmallGateway:
    """``documents`` by (collection, id); ``asked`` are the requests as they came, (method, path)."""

    def __init__(self) -> None:
        self.documents: dict[tuple[str, str], dict[str, Any]] = {}
        self.asked: list[tuple[str, str]] = []
        self.url = ""

    def answer(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        _, _, what, *names = path.split("/")
        assert what == "documents"
        if len(names) == 1:
            states = [one["state"] for (collection, _), one in self.documents.items() if collection == names[0]]
            return 200, {"documents": states}
        place = (unquote(names[0]), unquote(names[1]))
        known = self.documents.get(place)
        if method == "PUT":
            changed = known is None or (known["title"], known["text"]) != (body["title"], body["text"])
            version = (known["state"]["version"] if known else 0) + changed
            state = {"collection": place[0], "id": place[1], "version": version, "changed": changed}
            state |= {"chunks": 1, "updated_at": 0.0}
            self.documents[place] = {"state": state, **body}
            return 200, state
        if known is None:
            return 404, {"error": {"code": "unknown_document", "message": "there is none", "hint": "Check the id."}}
        if method == "DELETE":
            del self.documents[place]
            return 200, {**known["state"], "version": known["state"]["version"] + 1}
        return 200, known


@contextmanager
def serve_small_gateway() -> Iterator[SmallGateway]:
    gateway = SmallGateway()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            body = json.loads(self.rfile.read(length) or b"{}")
            gateway.asked.append((self.command, self.path))
            if self.headers.get("authorization") == f"Bearer {KEY}":
                status, answer = gateway.answer(self.command, self.path, body)
            else:
                status, answer = 401, {"error": {"code": "unauthenticated", "message": "no such key", "hint": "Look."}}
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_PUT = do_DELETE = do_GET

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    gateway.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield gateway
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
