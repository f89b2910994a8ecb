"""What is compared, and among what: pure.

Two questions are compared only if everything else that can change an answer is equal: the *part* of the index that a
call looks into is named by the answer key with the compared variable left out, so a field that joins the key joins the
part as well. A verdict is held by *scope*: all parts of a prompt's version, under one way of comparing.
"""

from hashlib import sha256

from msgspec import Struct, structs

from gateway.cache import rules
from gateway.cache.keys import Scope, answer_key, canonical
from gateway.cache.semantic.score import SCORE
from gateway.types import CachePlace, CachePolicy, Call, Origin, PromptVersion, SemanticMode

PREFIX = "py:s:{"
"""Of the Redis keys of all parts, which go on as those of answers do."""

GUARDS = "guards-1"
"""Raise it with every change of the guards: what was proved with others is not proved with these."""

MAX_CHARACTERS = 500
"""A longer question is not compared: small models read some 128 tokens, and what they do not read may differ."""

OFF = "off"
ORIGIN = "origin"
PLACE = "process"
VARIABLE = "variable"
TURNS = "turns"
LENGTH = "length"

_LOOKS = frozenset({Origin.LIVE, Origin.JOB})
_LEARNS = frozenset({Origin.LIVE, Origin.JOB, Origin.WARM, Origin.PROBE, Origin.REFRESH})


class SemanticScope(Struct, frozen=True):
    """What a verdict is about. ``recipe`` names embedder, variable and guards: another recipe earns anew."""

    tenant: str
    prompt: str
    version: str
    recipe: str


class Question(Struct, frozen=True):
    """The compared text of a call, and where it belongs."""

    variable: str
    text: str
    scope: SemanticScope
    part: str
    """The Redis key of the part's stream, in the slot of the answers themselves."""


def policy_off(policy: CachePolicy) -> str:
    """Empty, or why the layer does nothing for this prompt."""
    if policy.semantic.mode is SemanticMode.OFF or policy.semantic.ttl <= 0:
        return OFF
    return PLACE if policy.place is CachePlace.PROCESS else ""


def why_not_look(call: Call, variable: str) -> str:
    """Empty, or why no other question's answer may stand in for this call's."""
    if call.origin not in _LOOKS:
        return ORIGIN
    return rules.why_not_read(call) or _why_never(call, variable)


def why_not_learn(call: Call, variable: str) -> str:
    """Empty, or why this call's answer may not stand in for another's; that it was kept is for the caller to check."""
    return ORIGIN if call.origin not in _LEARNS else _why_never(call, variable)


def _why_never(call: Call, variable: str) -> str:
    if call.version is None:
        return OFF
    policy = call.version.cache
    if reason := policy_off(policy):
        return reason
    if (call.history or call.messages) and not policy.semantic.multi_turn:
        return TURNS
    text = call.variables.get(variable, "")
    if not text.strip():
        return VARIABLE
    return LENGTH if len(text) > MAX_CHARACTERS else ""


def recipe_of(embedder: str, variable: str) -> str:
    """How similarity is told: at most 200 characters."""
    return f"{embedder[:120]}:{variable[:60]}:{GUARDS}:{SCORE}"


def question_of(call: Call, version: PromptVersion, variable: str, embedder: str) -> Question:
    """For a managed call that may look or learn. ``version`` is the call's."""
    recipe = recipe_of(embedder, variable)
    blank = answer_key(structs.replace(call, variables={**call.variables, variable: ""}))
    name = sha256(canonical((blank, recipe))).hexdigest()[:32]
    return Question(
        variable=variable,
        text=call.variables[variable],
        scope=SemanticScope(call.tenant, version.name, version.version, recipe),
        part=f"{PREFIX}{Scope.of(call)}}}:{name}",
    )
