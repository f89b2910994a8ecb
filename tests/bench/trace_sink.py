"""Takes spans (OTLP over HTTP), throws them away, and tells how many bytes there were on ``GET /taken``.

``python -m tests.bench.trace_sink PORT``
"""

import sys

from aiohttp import web


class Sink:
    """Of everybody who sends here."""

    def __init__(self) -> None:
        self._bytes = 0

    async def take(self, request: web.Request) -> web.Response:
        """An empty protobuf message says that everything was accepted."""
        self._bytes += len(await request.read())
        return web.Response(content_type="application/x-protobuf")

    async def taken(self, _: web.Request) -> web.Response:
        return web.Response(text=str(self._bytes))


def main() -> None:
    app = web.Application()
    sink = Sink()
    app.add_routes([web.post("/v1/traces", sink.take), web.get("/taken", sink.taken)])
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)


if __name__ == "__main__":
    main()
