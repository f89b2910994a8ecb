"""The way to a vendor: JSON there, JSON or server-sent events back."""

from collections.abc import AsyncIterator, Mapping

import aiohttp
import msgspec

from gateway.providers.dialect import EventStream, Outgoing
from gateway.providers.plain_post import PlainPost, Refused


class JsonConnection:
    """A ``Connection`` to ``url``; ``headers`` carry the credentials. ``connect_timeout`` is in seconds."""

    def __init__(self, url: str, headers: Mapping[str, str], *, connect_timeout: float) -> None:
        self._post = PlainPost(url, headers, connect_timeout=connect_timeout)

    async def ask(self, outgoing: Outgoing, seconds: float) -> bytes:
        return await self._post.send(outgoing.body, seconds, outgoing.headers)

    async def listen(self, outgoing: Outgoing, seconds: float) -> EventStream:
        return Events(await self._post.listen(outgoing.body, seconds, outgoing.headers))

    async def aclose(self) -> None:
        await self._post.aclose()


class Events:
    """The ``data`` of each event as JSON, up to the end or a ``[DONE]``.

    Protocol: https://html.spec.whatwg.org/multipage/server-sent-events.html. An object with an ``error`` is raised as
    ``Refused`` with the status that it came with.
    """

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[object]:
        data: list[bytes] = []
        async for line in self._response.content:
            line = line.rstrip(b"\r\n")
            if line.startswith(b"data:"):
                data.append(line[5:].removeprefix(b" "))
            elif not line and data:
                whole = b"\n".join(data)
                data.clear()
                if whole == b"[DONE]":
                    return
                event: object = msgspec.json.decode(whole)
                if isinstance(event, Mapping) and event.get("error"):
                    raise Refused(self._response.status, self._response.headers, event)
                yield event

    async def close(self) -> None:
        self._response.close()
