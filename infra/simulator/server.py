"""Runs the application on uvicorn, with one thing that ASGI lacks: closing a connection without an answer."""

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from .answering import DROP_EXTENSION


class DroppingProtocol(HttpToolsProtocol):
    """Offers each request the means to abort its own connection."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {DROP_EXTENSION: self.transport.abort}  # type: ignore[dict-item]


def build_server(app: ASGIApp, host: str, port: int) -> uvicorn.Server:
    """A server that is ready to ``run()``; `port` 0 takes a free one."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            http=DroppingProtocol,
            lifespan="off",
            access_log=False,
            proxy_headers=False,
            log_level="warning",
            timeout_graceful_shutdown=2,
        )
    )
