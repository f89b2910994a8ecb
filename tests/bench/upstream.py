"""A lean upstream in OpenAI's wire format, for measurements: the simulator would cost more CPU than the gateway.

``python -m tests.bench.upstream PORT LATENCY_MS``: chat completions, whole or streamed in six chunks (the first after
0.4 of the latency). The answer repeats the call's last message, so that a caller can tell whose answer it got.
``GET /calls`` tells how many were asked for.
"""

import asyncio
import gc
import sys
from typing import cast

import httptools
import msgspec
import uvloop

_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
)
_FIRST_SHARE = 0.4
_PIECES = 6
_USAGE = {"prompt_tokens": 12, "completion_tokens": 8, "total_tokens": 20}


class _Message(msgspec.Struct):
    content: str = ""


class _Asked(msgspec.Struct):
    model: str = ""
    messages: list[_Message] = []
    input: list[str] | str = ""
    stream: bool = False


_decode = msgspec.json.Decoder(_Asked).decode
_encode = msgspec.json.Encoder().encode


class _Upstream(asyncio.Protocol):
    calls = 0

    def __init__(self, latency: float) -> None:
        self._latency = latency
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._pieces: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by type

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self._url = url
        self._pieces.clear()

    def on_body(self, piece: bytes) -> None:
        self._pieces.append(piece)

    def on_message_complete(self) -> None:
        if self._url == b"/calls":
            count = b"%d" % _Upstream.calls
            self._send(_HEAD % len(count) + count)
            return
        if not self._url.startswith(b"/v1/"):
            self._send(_HEAD % 2 + b"{}")
            return
        _Upstream.calls += 1
        asked = _decode(b"".join(self._pieces))
        said = asked.messages[-1].content if asked.messages else ""
        if asked.stream:
            self._loop.call_later(self._latency * _FIRST_SHARE, self._begin, asked.model, said)
            return
        body = _encode(_whole(asked.model, said))
        answer = _HEAD % len(body) + body
        if self._latency:
            self._loop.call_later(self._latency, self._send, answer)
        else:
            self._send(answer)

    def _begin(self, model: str, said: str) -> None:
        events = [_event(model, {"role": "assistant", "content": said})]
        events += [_event(model, {"content": "."}) for _ in range(_PIECES - 1)]
        events[-1] += _event(model, {}, "stop") + _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"
        self._send(_STREAM_HEAD + events[0])
        pause = self._latency * (1 - _FIRST_SHARE) / (_PIECES - 1)
        for number, event in enumerate(events[1:], 1):
            self._loop.call_later(pause * number, self._send, event)

    def _send(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)


def _whole(model: str, said: str) -> dict[str, object]:
    message = {"role": "assistant", "content": f"You said: {said}"}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return {
        "id": "chatcmpl-0",
        "object": "chat.completion",
        "created": 0,
        "model": model,
        "choices": [choice],
        "usage": _USAGE,
    }


def _event(model: str, delta: dict[str, str], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    chunk: dict[str, object] = {"id": "chatcmpl-0", "object": "chat.completion.chunk", "created": 0, "model": model}
    chunk["choices"] = [choice]
    if finish:
        chunk["usage"] = _USAGE
    return _chunk(b"data: " + _encode(chunk) + b"\n\n")


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


async def _serve(port: int, latency: float) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: _Upstream(latency), "127.0.0.1", port, backlog=2048)
    gc.freeze()
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), float(sys.argv[2]) / 1000))
