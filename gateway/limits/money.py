"""What a call may need and what it has cost, in the units of limits, by the prices and the settings."""

import logging
from decimal import Decimal

from gateway.limits import estimate
from gateway.limits.metrics import LimitMetrics
from gateway.settings import LimitSettings
from gateway.types import Call, ModelRef, Usage

_MOST_NAMED = 1000

_log = logging.getLogger(__name__)


class Money:
    """A model of unknown price is neither free nor refused: it counts at a dear price that the settings assume.

    Free would make a budget that nothing ever uses up, and refusing would stop every server of one's own. It is counted
    at each reservation and logged once a model.
    """

    def __init__(
        self, price: estimate.Price, settings: LimitSettings, metrics: LimitMetrics, *, default_seconds: float
    ) -> None:
        """``default_seconds``: the longest time of a call that no prompt bounds."""
        self.default_seconds = default_seconds
        self._price = price
        self._assumed_output = settings.assumed_max_output_tokens
        self._assumed_price = Decimal(str(settings.unknown_price_usd_per_mtok))
        self._metrics = metrics
        self._named: set[ModelRef] = set()

    def tokens(self, call: Call) -> int:
        """A guess, for rate limits."""
        return estimate.likely_tokens(call.rendered or call.messages, call.params, self._assumed_output)

    def bound(self, call: Call) -> int:
        """Nanodollars: what one trip to the chain can cost at most."""
        messages = call.rendered or call.messages
        found = estimate.dearest(
            call.chain or (ModelRef.parse(call.model),),
            estimate.most_input(messages, call.params),
            estimate.most_output(call.params, self._assumed_output),
            self._price,
            call.received_at,
            self._assumed_price,
        )
        if found.unpriced:
            self._metrics.unpriced()
            for ref in found.unpriced:
                self._name(ref)
        return estimate.nanodollars(found.usd)

    def settled(self, usage: Usage, usd: Decimal | None) -> int:
        """Nanodollars."""
        return estimate.nanodollars(estimate.assumed_cost(usage, self._assumed_price) if usd is None else usd)

    def _name(self, ref: ModelRef) -> None:
        if ref not in self._named and len(self._named) < _MOST_NAMED:
            self._named.add(ref)
            _log.warning("the price of %s is unknown: budgets count %s USD a million tokens", ref, self._assumed_price)
