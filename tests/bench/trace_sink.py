"""Takes spans (OTLP over HTTP) and throws them away: ``python -m tests.bench.trace_sink PORT``."""

import sys

from aiohttp import web


async def take(request: web.Request) -> web.Response:
    """An empty protobuf message says that everything was accepted."""
    await request.read()
    return web.Response(content_type="application/x-protobuf")


async def healthz(_: web.Request) -> web.Response:
    return web.Response()


def main() -> None:
    app = web.Application()
    app.add_routes([web.post("/v1/traces", take), web.get("/healthz", healthz)])
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)


if __name__ == "__main__":
    main()
