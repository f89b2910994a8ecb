"""Calls, versions and replies as the pipeline makes them; ``msgspec.structs.replace`` varies them."""

from gateway.types import CachePolicy, Call, ModelRef, PromptVersion, Reply, RetrievalPolicy, Usage

VERSION = PromptVersion(
    tenant="acme",
    name="help-centre",
    version="1.0.0",
    digest="d1",
    template=({"role": "system", "content": "{{context}}"}, {"role": "user", "content": "{{question}}"}),
    chain=(ModelRef("openai", "small"),),
    params={"temperature": 0},
    retrieval=RetrievalPolicy(collection="help", query="{{question}}"),
    cache=CachePolicy(ttl=100.0, jitter=0.1),
)

MANAGED = Call(
    id="call_1",
    tenant="acme",
    received_at=1_700_000_000.0,
    prompt="help-centre",
    model="prompt:help-centre",
    variables={"question": "How do I get my money back?"},
    params={"temperature": 0},
    version=VERSION,
    chain=(ModelRef("openai", "small"),),
    collection="help",
    epoch="g.e",
)

RAW = Call(
    id="call_2",
    tenant="acme",
    received_at=1_700_000_000.0,
    model="openai/small",
    messages=({"role": "user", "content": "Hello"},),
    params={"temperature": 0},
    epoch="-",
)

REPLY = Reply(
    message={"role": "assistant", "content": "Within 30 days."},
    finish_reason="stop",
    provider="openai",
    model="small",
    usage=Usage(input_tokens=10, output_tokens=5),
    documents=("doc:help/refunds@3",),
)

RAW_REPLY = Reply(
    message={"role": "assistant", "content": "Hello to you."},
    finish_reason="stop",
    provider="openai",
    model="small",
    usage=Usage(input_tokens=2, output_tokens=3),
)
