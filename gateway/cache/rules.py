"""What may be shared, kept and served: pure decisions, each an empty string (yes) or the reason why not."""

import math
from collections.abc import Mapping
from typing import Any

from gateway.types import CacheMode, CachePolicy, Call, LayerPolicy, Reply

HIT = "hit"
MISS = "miss"
KEPT = "kept"
BYPASS = "bypass"
EVIDENCE = "evidence"
PERSONAL = "personal"
TEMPERATURE = "temperature"
OFF = "off"
EPOCH = "epoch"
EXPIRED = "expired"
AGED = "aged"
"""Past its TTL and served all the same: it is being made anew."""
REFRESHING = "refreshing"
"""Within its TTL, and being made anew ahead of its end."""
REMOVED = "removed"
"""By tenant, prompt, version or tag."""
UNAVAILABLE = "unavailable"
INCOMPLETE = "incomplete"
REFUSED = "refused"
EMPTY = "empty"
UNENCODABLE = "unencodable"
LARGE = "large"
"""For the process's own memory."""

STILL_SERVED = frozenset({AGED, REFRESHING})
"""Reasons with which an answer is served and made anew in the background."""

_NOTHING_KEPT = CachePolicy(embedding=LayerPolicy(on=False), context=LayerPolicy(on=False))
_COMPLETE = frozenset({"stop", "tool_calls"})


def policy_of(call: Call) -> CachePolicy:
    """The prompt's policy; raw calls have the default one."""
    return call.version.cache if call.version else CachePolicy()


def layers_below(call: Call) -> CachePolicy:
    """What may be kept on the way to an answer: nothing of a question whose answer may not be, or of a bypass."""
    if call.cache is CacheMode.BYPASS or (call.version and call.version.personal) or call.params.get("personal"):
        return _NOTHING_KEPT
    return policy_of(call)


def why_not_read(call: Call) -> str:
    """Whether the epoch is known is for the caller to check."""
    return BYPASS if call.cache in (CacheMode.BYPASS, CacheMode.REFRESH) else _why_never(call)


def why_not_keep(call: Call, reply: Reply) -> str:
    """Whether the epoch has changed since the call began is for the caller to check."""
    if call.cache is CacheMode.BYPASS:
        return BYPASS
    if reason := _why_never(call):
        return reason
    if reply.finish_reason == "content_filter" or reply.message.get("refusal"):
        return REFUSED
    if reply.finish_reason not in _COMPLETE:
        return INCOMPLETE
    if not _says_something(reply.message):
        return EMPTY
    # Documents without a collection to watch would never go stale.
    if not call.epoch if call.collection else bool(reply.documents):
        return EPOCH
    return ""


def why_never_shared(call: Call) -> str:
    """Of an answer that stands in while providers are down: it is no evidence, whoever gets it."""
    return BYPASS if call.cache is CacheMode.BYPASS else _why_never_kept(call)


def _why_never(call: Call) -> str:
    return EVIDENCE if call.evidence else _why_never_kept(call)


def _why_never_kept(call: Call) -> str:
    policy = policy_of(call)
    if (call.version and call.version.personal) or call.params.get("personal"):
        return PERSONAL
    if not policy.exact or policy.ttl <= 0:
        return OFF
    if not (policy.above_zero or _asked(call) or _is_zero(temperature(call))):
        return TEMPERATURE
    return ""


def age(*, now: float, expires_at: float, aged_until: float, made_in: float, beta: float, draw: float) -> str:
    """``HIT``, ``REFRESHING``, ``AGED`` or ``EXPIRED`` of an entry that is true otherwise. Times in seconds.

    Early is drawn as in XFetch: ``now - made_in * beta * ln(draw) >= expires_at`` (Vattani, Chierichetti, Lowenstein,
    *Optimal Probabilistic Cache Stampede Prevention*, VLDB 2015), ``draw`` uniform over (0, 1].
    """
    if now >= expires_at:
        return AGED if now < aged_until else EXPIRED
    return REFRESHING if now - made_in * beta * math.log(draw) >= expires_at else HIT


def aged_for(call: Call, reply: Reply) -> float:
    """Seconds past its TTL for which the answer may be served while it is made anew.

    None for a fallback's answer: its TTL is short because the first choice will be back.
    """
    return 0.0 if reply.fell_back else max(0.0, policy_of(call).refresh_within)


def temperature(call: Call) -> Any:
    """The caller's, else the spec's, else None: the provider's default, which is above 0."""
    given = call.params.get("temperature")
    if given is None and call.version is not None:
        return call.version.params.get("temperature")
    return given


def _is_zero(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == 0


def _asked(call: Call) -> bool:
    """A raw call has no policy; one that names a cache mode asks to be kept."""
    return call.version is None and call.cache not in (CacheMode.DEFAULT, CacheMode.BYPASS)


def _says_something(message: Mapping[str, Any]) -> bool:
    content = message.get("content")
    return bool(message.get("tool_calls")) or bool(content.strip() if isinstance(content, str) else content)
