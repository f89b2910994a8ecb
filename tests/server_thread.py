"""A uvicorn server in a thread of this process: fast to start, on a socket that no other process can take."""

import asyncio
import socket
import threading
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

import uvicorn

T = TypeVar("T")
_WITHIN = 30.0


class ServerThread:
    """Runs ``server`` until ``stop``. ``call`` runs a coroutine in the server's own event loop."""

    def __init__(self, server: uvicorn.Server, listening: socket.socket) -> None:
        self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        self._server = server
        self._socket = listening
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Returns when the server answers. Raises ``RuntimeError`` when it does not start."""
        self._thread.start()
        deadline = time.monotonic() + _WITHIN
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                raise RuntimeError("the server did not start")
            time.sleep(0.005)

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_WITHIN)

    def stop(self) -> None:
        """Idempotent. The server finishes what it is answering first."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(_WITHIN)
        self._socket.close()
        assert not self._thread.is_alive(), "the server did not stop"

    def _run(self) -> None:
        async def serve() -> None:
            self._loop = asyncio.get_running_loop()
            await self._server.serve(sockets=[self._socket])

        asyncio.run(serve())


def listen() -> socket.socket:
    """A bound loopback socket."""
    found = socket.socket()
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    found.bind(("127.0.0.1", 0))
    return found
