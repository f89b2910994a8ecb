"""How many tokens and how much money a call may need, before anybody knows: pure."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import ROUND_CEILING, Decimal
from typing import Any

import msgspec
from msgspec import Struct

from gateway.types import Cost, Message, ModelRef, Usage

CHARACTERS_A_TOKEN = 4
"""The rule of thumb of English text, for rate limits, where a guess is corrected within seconds."""
ATTACHMENT_TOKENS = 50_000
"""More than any provider charges for one picture, sound or file, whose size its address does not tell."""
OVERHEAD_TOKENS = 64
TOOLS_OVERHEAD_TOKENS = 1_000
"""What providers add themselves around messages, and around tools."""

Price = Callable[[str, str, Usage, float], Cost]


class Bound(Struct, frozen=True):
    """An upper bound in US dollars; ``unpriced`` names the links of the chain whose price is unknown."""

    usd: Decimal
    unpriced: tuple[ModelRef, ...] = ()


def likely_tokens(messages: Sequence[Message], params: Mapping[str, Any], assumed_output: int) -> int:
    """Characters / 4 of what is sent, and all of the output that it asks for."""
    return likely_input(messages, params) + most_output(params, assumed_output)


def likely_input(messages: Sequence[Message], params: Mapping[str, Any]) -> int:
    """Characters / 4 of what is sent."""
    return math.ceil(_bytes(messages, params) / CHARACTERS_A_TOKEN)


def characters(delta: Mapping[str, Any]) -> int:
    """Of what a piece of an answer says, its role apart; calls of tools count by their JSON."""
    return sum(
        len(value) if isinstance(value, str) else len(repr(value))
        for name, value in delta.items()
        if value and name != "role"
    )


def most_output(params: Mapping[str, Any], assumed: int) -> int:
    """The caller's own bound, or ``assumed``, for each of the ``n`` choices."""
    given = [params.get(name) for name in ("max_completion_tokens", "max_tokens")]
    most = max((value for value in given if isinstance(value, int) and value > 0), default=assumed)
    choices = params.get("n")
    return most * (choices if isinstance(choices, int) and choices > 0 else 1)


def most_input(messages: Sequence[Message], params: Mapping[str, Any]) -> int:
    """No tokenizer makes more tokens than UTF-8 has bytes; what the provider adds comes on top."""
    attachments = sum(_attachments(message.get("content")) for message in messages)
    tools = TOOLS_OVERHEAD_TOKENS if params.get("tools") or params.get("functions") else 0
    return _bytes(messages, params) + attachments * ATTACHMENT_TOKENS + OVERHEAD_TOKENS + tools


def dearest(
    chain: Iterable[ModelRef], input_tokens: int, output_tokens: int, price: Price, at: float, assumed_per_mtok: Decimal
) -> Bound:
    """What the dearest link of the chain would charge, whether or not it writes its input to its prompt cache.

    A link of unknown price counts ``assumed_per_mtok`` dollars for a million tokens.
    """
    plain = Usage(input_tokens, output_tokens)
    written = Usage(input_tokens, output_tokens, cache_write_tokens=input_tokens)
    most, unpriced = Decimal(0), []
    for ref in chain:
        known = [price(ref.provider, ref.model, usage, at).usd for usage in (plain, written)]
        if None in known:
            unpriced.append(ref)
            known = [assumed_cost(plain, assumed_per_mtok)]
        most = max([most, *(usd for usd in known if usd is not None)])
    return Bound(most, tuple(unpriced))


def assumed_cost(usage: Usage, per_mtok: Decimal) -> Decimal:
    return per_mtok * (usage.input_tokens + usage.output_tokens) / 1_000_000


def nanodollars(usd: Decimal) -> int:
    """Rounded up. Redis' numbers (doubles, in Lua) count these exactly up to nine million dollars."""
    return int((usd * 1_000_000_000).to_integral_value(ROUND_CEILING))


def _bytes(messages: Sequence[Message], params: Mapping[str, Any]) -> int:
    sent: list[Any] = [messages]
    sent += [params[name] for name in ("tools", "functions", "response_format") if params.get(name)]
    try:
        return len(msgspec.json.encode(sent))
    except (TypeError, ValueError, RecursionError):  # no plain JSON, such as half of a surrogate pair
        return len(repr(sent)) * 4


def _attachments(content: Any) -> int:
    if not isinstance(content, (list, tuple)):
        return 0
    return sum(1 for part in content if isinstance(part, Mapping) and part.get("type") not in ("text", "refusal"))
