"""The same call with another question in it: for answers to similar questions. Pure."""

from msgspec import structs

from gateway.prompts.template import names, render_text
from gateway.types import Call, PromptVersion


def compared_variable(version: PromptVersion) -> str:
    """The variable whose texts are compared; empty where nobody can tell which.

    The policy's; else the only one that callers give; else the only one of the retrieval query.
    """
    declared = [one.name for one in version.variables]
    if version.retrieval is not None and version.retrieval.into in declared:
        declared.remove(version.retrieval.into)
    if wanted := version.cache.semantic.variable:
        return wanted if wanted in declared else ""
    if len(declared) == 1:
        return declared[0]
    asked = names(version.retrieval.query) if version.retrieval is not None else ()
    return asked[0] if len(asked) == 1 and asked[0] in declared else ""


def reworded(call: Call, variable: str, text: str) -> Call:
    """A routed call as it would be with this text: not grounded, whatever ``call`` is."""
    values = {**call.variables, variable: text}
    policy = call.version.retrieval if call.version is not None else None
    return structs.replace(
        call,
        variables=values,
        query=render_text(policy.query, values) if policy is not None else "",
        rendered=(),
        passages=(),
        context="",
    )
