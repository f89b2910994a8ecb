"""What the gateway is held against: a bare FastAPI handler with one Redis GET, and one that calls the OpenAI SDK.

Run as ``python -m tests.bench.peer PORT REDIS_URL PROVIDER_URL``.
"""

import gc
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI
from openai import AsyncOpenAI, DefaultAioHttpClient
from pydantic import BaseModel
from redis.asyncio import Redis


class Body(BaseModel):
    model: str
    messages: list[dict[str, Any]] = []
    temperature: float = 0


def build(redis_url: str, provider_url: str) -> FastAPI:
    """The two handlers, as anybody would write them."""
    redis = Redis.from_url(redis_url)
    client = AsyncOpenAI(base_url=provider_url, api_key="-", max_retries=0, http_client=DefaultAioHttpClient())

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        gc.collect()
        gc.freeze()
        yield
        await redis.aclose()
        await client.close()

    app = FastAPI(lifespan=lifespan)

    @app.post("/get")
    async def get(body: Body) -> dict[str, Any]:
        return {"answer": str(await redis.get(body.model) or "")}

    @app.post("/ask")
    async def ask(body: Body) -> dict[str, Any]:
        answer = await client.chat.completions.create(
            model=body.model,
            messages=body.messages,  # type: ignore[arg-type]
            temperature=body.temperature,
        )
        return answer.model_dump()

    return app


if __name__ == "__main__":
    port, redis_url, provider_url = sys.argv[1:4]
    uvicorn.run(build(redis_url, provider_url), host="127.0.0.1", port=int(port), log_level="error", access_log=False)
