"""To which room of the gateway a moment belongs: the innermost frame that somebody in particular owns."""

import linecache
import re
from types import FrameType

ELSEWHERE = "event loop, interpreter"

_ROOMS = (
    ("/gateway/auth/", "auth"),
    ("/gateway/limits/", "limits"),
    ("/gateway/cache/", "cache"),
    ("/gateway/ledger/", "ledger"),
    ("/gateway/telemetry.py", "telemetry"),
    ("/gateway/tracing.py", "telemetry"),
    ("/prometheus_client/", "telemetry"),
    ("/opentelemetry/", "telemetry"),
    ("/gateway/providers/", "provider client"),
    ("/aiohttp/", "provider client"),
    ("/openai/", "provider client"),
    ("/httpx/", "provider client"),
    ("/gateway/storage/redis", "redis"),
    ("/redis/", "redis"),
    ("/gateway/prompts/", "routing"),
    ("/gateway/retrieval/", "retrieval"),
    ("/gateway/pricing.py", "pricing"),
    ("/genai_prices/", "pricing"),
    ("/gateway/idempotency/", "idempotency"),
    ("/gateway/api/", "api"),
    ("/gateway/app.py", "api"),
    ("/gateway/http_server.py", "http server"),
    ("/gateway/", "pipeline"),
    ("/uvicorn/_compat.py", ELSEWHERE),
    ("/uvicorn/server.py", ELSEWHERE),
    ("/uvicorn/", "http server"),
    ("/starlette/", "http server"),
    ("/fastapi/", "http server"),
)
"""The first that a file's path contains. What is in no room, such as the standard library, is its caller's."""

_CODEC = re.compile(
    r"msgspec\.\w+\.\w+code\(|\b_?(?:en|de)coder\.\w+code\(|(?<![\w.])_?(?:en|de)code(?:_\w+)?\(|json\.(?:loads|dumps)\("
)
"""A call of a codec; ``text.encode()`` is none."""
_files: dict[str, str] = {}


def room_of(frame: FrameType | None) -> tuple[str, str]:
    """The room, and the place: ``file:function``. Lines that call a codec are ``json, msgpack``, whoever's they are."""
    while frame is not None:
        name = frame.f_code.co_filename
        room = _files.get(name)
        if room is None:
            path = name.replace("\\", "/")
            room = _files[name] = next((room for part, room in _ROOMS if part in path), "")
        if room:
            place = f"{'/'.join(name.rsplit('/', 2)[1:])}:{frame.f_code.co_name}"
            return ("json, msgpack" if _is_codec(name, frame.f_lineno) else room), place
        frame = frame.f_back
    return ELSEWHERE, ELSEWHERE


def _is_codec(name: str, line: int) -> bool:
    return bool(_CODEC.search(linecache.getline(name, line)))
