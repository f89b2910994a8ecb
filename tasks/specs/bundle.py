"""What of a spec the gateway needs, and the digest by which two versions are the same."""

import hashlib
from typing import Any

import msgspec

from gateway.types import CachePolicy, ModelRef, PromptVersion, RetrievalPolicy, Variable
from tasks.specs.model import PromptSpec

# What decides an answer. Policies of gate and canary, the author and the changelog may change without a new version.
_BEHAVIOUR = ("name", "template", "variables", "retrieval", "model", "personal", "tools")


def digest(spec: PromptSpec) -> str:
    """SHA-256 (hex) of what decides the answers of this spec."""
    content = spec.model_dump(mode="json", include=set(_BEHAVIOUR))
    for variable in content["variables"].values():
        del variable["description"]  # for people only
    if not content["tools"]:
        del content["tools"]  # versions from before there were tools are still what they were
    return hashlib.sha256(msgspec.json.encode(content, order="deterministic")).hexdigest()


def bundle(spec: PromptSpec, tenant: str) -> PromptVersion:
    """The gateway's view of a spec."""
    params: dict[str, Any] = dict(spec.model.params)
    if spec.model.temperature is not None:
        params["temperature"] = spec.model.temperature
    if spec.model.max_tokens is not None:
        params["max_tokens"] = spec.model.max_tokens
    retrieval = spec.retrieval
    return PromptVersion(
        tenant=tenant,
        name=spec.name,
        version=spec.version,
        digest=digest(spec),
        template=tuple({"role": message.role, "content": message.content} for message in spec.template),
        variables=tuple(
            Variable(name, v.description, v.required, v.default, v.max_chars) for name, v in spec.variables.items()
        ),
        chain=tuple(ModelRef.parse(link) for link in spec.model.chain),
        params=params,
        retrieval=RetrievalPolicy(retrieval.collection, retrieval.query, retrieval.top_k, retrieval.into)
        if retrieval
        else None,
        cache=msgspec.convert(spec.cache.model_dump(mode="json"), CachePolicy),
        total_timeout=spec.model.timeout,
        personal=spec.personal,
        daily_budget_usd=spec.budget.daily_usd,
        tools=spec.tools,
    )
