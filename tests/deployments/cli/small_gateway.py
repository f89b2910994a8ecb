"""A gateway of a few lines on loopback: documents in memory, errors in the real API's shape."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote

KEY = "py_test"


class SmallGateway:
    """``documents`` by (collection, id); ``asked`` are the requests as they came, (method, path).

    ``page`` is how many documents a list shows at once.
    """

    def __init__(self) -> None:
        self.documents: dict[tuple[str, str], dict[str, Any]] = {}
        self.asked: list[tuple[str, str]] = []
        self.url = ""
        self.page = 100

    def answer(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        path, _, query = path.partition("?")
        _, _, what, *names = path.split("/")
        assert what == "documents"
        if len(names) == 1:
            after = parse_qs(query).get("after", [""])[0]
            places = sorted(place for place in self.documents if place[0] == names[0] and place[1] > after)
            page = [self.documents[place]["state"] for place in places[: self.page]]
            more = len(places) > self.page
            return 200, {"documents": page, "has_more": more, "next": page[-1]["id"] if more else None}
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
def serve_small_gateway(gateway: SmallGateway | None = None) -> Iterator[SmallGateway]:
    """One with documents, or another that answers in its own way."""
    gateway = gateway or SmallGateway()

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

        do_POST = do_PUT = do_DELETE = do_GET

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
