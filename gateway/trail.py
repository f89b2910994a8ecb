"""What becomes of a call while it goes on: the one mutable value of the request path.

A trail belongs to one call, or to the one upstream call that several identical calls share. It is what metrics, spans,
the ledger and ``GET /v1/calls/{id}`` are told from, so that the path itself measures each thing once.
"""

from collections.abc import Sequence
from typing import Any

from msgspec import Struct, field, structs

from gateway.errors import ProviderError
from gateway.types import Attempt, Call, Cost, Layer, ModelRef, Reply


class Stage(Struct, frozen=True):
    """``begun`` is on the monotonic clock, both are in seconds."""

    name: str
    begun: float
    seconds: float


class Look(Struct, frozen=True):
    """What one layer of the cache said when it was asked; ``outcome`` is ``hit`` or why not, one of a handful."""

    layer: str
    outcome: str
    seconds: float | None = None
    """None where asking took no time of its own."""


class Trail(Struct, kw_only=True):
    """``begun``: when the call came in, on the monotonic clock."""

    call: Call
    """The fullest copy: routed, then grounded."""
    begun: float
    came: Call | None = None
    """As it came in, before it was routed: what a candidate is asked too."""
    stages: list[Stage] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    """At the layers of the cache, in the order in which they were asked."""
    asked: ModelRef | None = None
    """The link that was asked last; None while no provider was asked, and so nothing was spent."""
    costs: list[Cost] = field(default_factory=list)
    """One of each upstream answer: tool rounds and answers that were made again are several."""
    notes: dict[str, Any] = field(default_factory=dict)
    """Decisions and their reasons, as plain JSON."""
    layer: Layer = Layer.NONE
    """Which layer gave what was produced; NONE is a provider."""
    reserving: Any = None
    """A task that reserves what the first trip to the providers needs, if it was begun early."""
    keeping: tuple[Call, Reply] | None = None
    """What is still to be put into the cache."""
    left: Any = None
    """The flight that the caller has left and that goes on for other workers."""
    similar: Any = None
    """What the semantic layer found, for when the fresh answer is there; nobody else's business."""
    booked: bool = False
    """Whether some call's record carries the costs."""

    def passed(self, stage: str, begun: float, now: float) -> None:
        self.stages.append(Stage(stage, begun, now - begun))

    def looked(self, layer: str, outcome: str, seconds: float | None = None) -> None:
        """A layer of the cache was asked, or why it was not."""
        self.looks.append(Look(layer, outcome, seconds))

    @property
    def layers(self) -> dict[str, str]:
        """What each layer that was asked said first: later it may find what this very call has put there."""
        said: dict[str, str] = {}
        for look in self.looks:
            said.setdefault(look.layer, look.outcome)
        return said

    def join(self, other: "Trail") -> None:
        """Take over what happened on a shared trail, its costs included."""
        grounded = other.call
        self.call = structs.replace(
            self.call,
            rendered=grounded.rendered,
            passages=grounded.passages,
            context=grounded.context,
            epoch=grounded.epoch,
        )
        self.stages.extend(other.stages)
        self.looks.extend(other.looks)
        self.asked = other.asked
        self.layer = other.layer
        self.costs.extend(other.costs)
        self.notes.update(other.notes)

    def begin_again(self, call: Call, error: ProviderError) -> None:
        """Go on as another version's ``call``, since the version so far has failed; what that cost stays booked."""
        failed = self.call.version
        attempts: Sequence[Attempt] = getattr(error, "attempts", ())
        self.notes = {
            "fell_back_from": {
                "version": failed.version if failed is not None else "",
                "error": error.code,
                "attempts": [
                    {"provider": a.provider, "model": a.model, "latency_ms": round(a.latency_ms, 2), "error": a.error}
                    for a in attempts
                ],
            }
        }
        self.call, self.layer, self.asked = call, Layer.NONE, None
        self.looks, self.keeping, self.similar = [], None, None

    def cost(self) -> Cost:
        """All of it: unknown as soon as one part is, and nothing when nothing was asked."""
        if len(self.costs) == 1:
            return self.costs[0]
        total = Cost() if not self.costs else self.costs[-1]
        amounts = [cost.usd for cost in self.costs if cost.usd is not None]
        known = len(amounts) == len(self.costs) > 0
        return Cost(
            usd=sum(amounts[1:], amounts[0]) if known else None,
            input_per_mtok=total.input_per_mtok,
            output_per_mtok=total.output_per_mtok,
            data_version=total.data_version,
        )
