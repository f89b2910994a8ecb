"""The gateway's application: lifespan and routes. ``python -m gateway.app`` serves it."""

import gc
import logging
import multiprocessing
import multiprocessing.process
import os
import signal
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from gateway.start import uncollected

with uncollected():
    from fastapi import FastAPI
    from fastapi.exceptions import RequestValidationError
    from starlette.exceptions import HTTPException
    from starlette.routing import Route
    from starlette.types import Receive, Scope, Send

    from gateway import compose as composition
    from gateway import logs, pricing
    from gateway.api import (
        calls,
        completion,
        conversations,
        documents,
        embeddings,
        feedback,
        health,
        jobs,
        messages,
        models,
        prompts,
        responses,
        tools,
    )
    from gateway.api.chat import chat_completions
    from gateway.api.serving import Answering
    from gateway.errors import PromptyardError
    from gateway.settings import Settings

log = logging.getLogger(__name__)

ANSWERING: Mapping[str, Answering] = {
    "/v1/chat/completions": chat_completions,
    "/v1/messages": messages.messages,
    "/v1/completion": completion.completion,
    "/v1/chat": completion.chat,
}
"""The endpoints that answer calls, by path: asked before any routing or middleware."""


RESOURCES = (calls, conversations, messages, feedback, documents, tools, embeddings, models, jobs, prompts, health)


class GatewayApp(FastAPI):
    """FastAPI for everything but the hot paths, whose routes are there for their schemas and for other methods."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST" and (hot := ANSWERING.get(scope["path"])):
            scope["app"] = self
            await hot(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    def openapi(self) -> dict[str, Any]:
        from gateway.api import schema  # only who asks for the documentation pays for its models

        return schema.openapi(self, ANSWERING)


def create_app(settings: Settings) -> FastAPI:
    """The application for these settings. Connections are opened when it starts, not here."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        gateway = composition.compose(settings)
        pricing.load()
        app.state.gateway = gateway
        await gateway.start()
        gc.collect()
        gc.freeze()  # what lives as long as the process need not be looked at by every collection
        try:
            yield
        finally:
            await gateway.stop()

    app = GatewayApp(title="promptyard gateway", version="0.1.0", lifespan=lifespan)
    app.add_exception_handler(PromptyardError, responses.on_promptyard_error)
    app.add_exception_handler(RequestValidationError, responses.on_validation_error)
    app.add_exception_handler(HTTPException, responses.on_http_error)
    app.add_middleware(responses.ContainDefects)
    for path, endpoint in ANSWERING.items():
        app.router.routes.append(Route(path, endpoint, methods=["POST"]))
    for resource in RESOURCES:
        app.include_router(resource.router)
    return app


def from_environment() -> FastAPI:
    """The application of one of several workers, which ends with its parent, however that ends."""
    if (parent := multiprocessing.parent_process()) is not None:
        threading.Thread(target=_end_after, args=(parent,), daemon=True).start()
    settings = Settings()
    logs.configure(settings.log_format)
    return create_app(settings)


def _end_after(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    """Serve until SIGTERM or SIGINT; calls in flight are finished first, for at most 30 s.

    Several workers share the port under a parent that replaces those that die. Each has its own connections, spool and
    metrics; what must be common to all is in Redis and SQL.
    """
    import uvicorn  # the server, and what reads its command line: not for those who import the application

    from gateway.http_server import BoundedHttp

    settings = Settings()
    logs.configure(settings.log_format)
    uvicorn.run(
        "gateway.app:from_environment" if settings.workers > 1 else create_app(settings),
        factory=settings.workers > 1,
        workers=settings.workers,
        host=settings.host,
        port=settings.port,
        log_level="warning",
        access_log=False,
        http=BoundedHttp,
        timeout_graceful_shutdown=30,
        timeout_worker_healthcheck=30,  # by default a worker that takes 5 s to import is killed, again and again
    )


if __name__ == "__main__":
    main()
