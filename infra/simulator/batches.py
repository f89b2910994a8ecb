"""Batches of either provider: requests that are worked off later, and what becomes of each."""

import random
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from .answering import World
from .faults import BatchFault
from .practice.abilities import ability_of
from .wire import Exchange, Refusal

MAX_BATCHES = 1_000
Fate = Literal["succeeded", "errored", "expired", "canceled"]


@dataclass(frozen=True, slots=True)
class Item:
    """One request: `body` is the JSON that the single endpoint takes."""

    custom_id: str
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """`status` and `answer` are what the single endpoint would have said; an item that never ran has neither."""

    custom_id: str
    fate: Fate
    status: int = 0
    answer: Any = None
    message: str = ""


@dataclass(slots=True)
class Batch:
    """Times are Unix seconds. `cancelled_at` is when cancelling was asked for."""

    id: str
    model: str
    items: Sequence[Item]
    rule: BatchFault
    created: float
    cancelled_at: float | None = None
    metadata: Mapping[str, str] | None = None
    input_file: str = ""
    outcomes: list[Outcome] | None = None
    files: dict[str, str] = field(default_factory=dict)

    @property
    def ends(self) -> float:
        due = self.created + self.rule.processing_ms / 1000
        return due if self.cancelled_at is None else min(due, self.cancelled_at)

    @property
    def was_cancelled(self) -> bool:
        return self.cancelled_at is not None and self.cancelled_at <= self.ends


class BatchDesk:
    """Takes batches of one provider and knows how they end. The oldest are forgotten beyond `MAX_BATCHES`."""

    def __init__(self, world: World, provider: str, read: Callable[[bytes, str], Exchange]) -> None:
        self._world = world
        self._provider = provider
        self._read = read
        self._batches: OrderedDict[str, Batch] = OrderedDict()

    def take(self, prefix: str, items: Sequence[Item]) -> Batch:
        """A new batch. Raises `Refusal` for what its provider would refuse, and where a fault says so."""
        if not items:
            raise Refusal(400, "A batch needs at least one request.", "requests")
        if len({item.custom_id for item in items}) < len(items):
            raise Refusal(400, "Each custom_id must be unique within a batch.", "requests")
        model = str(items[0].body.get("model", ""))
        fault = self._world.board.decide(self._provider, model, ability_of(model).slowness)
        if fault.retry_after is not None or fault.status is not None:
            status = 429 if fault.retry_after is not None else fault.status or 500
            self._world.counts.add(self._provider, "batches", model, status)
            raise Refusal(status, f"The simulator was asked to fail with status {status}.")
        self._world.counts.add(self._provider, "batches", model, 200)
        identity = f"{prefix}{self._world.rng.getrandbits(96):024x}"
        batch = Batch(identity, model, tuple(items), fault.batch or BatchFault(), self._world.unix_time())
        self._batches[identity] = batch
        while len(self._batches) > MAX_BATCHES:
            self._batches.popitem(last=False)
        return batch

    def find(self, identity: str) -> Batch:
        """Raises `Refusal` 404."""
        if identity not in self._batches:
            raise Refusal(404, f"No batch found with id '{identity}'.")
        return self._batches[identity]

    def newest_first(self) -> list[Batch]:
        return list(reversed(self._batches.values()))

    def cancel(self, identity: str) -> Batch:
        batch = self.find(identity)
        if batch.cancelled_at is None and not self.has_ended(batch):
            batch.cancelled_at = self._world.unix_time()
        return batch

    def has_ended(self, batch: Batch) -> bool:
        return self._world.unix_time() >= batch.ends

    def outcomes(self, batch: Batch) -> list[Outcome]:
        """What became of each item that is reported at all, once the batch has ended; always the same."""
        if batch.outcomes is None:
            dice = random.Random(batch.id)
            reached = len(batch.items)
            if batch.was_cancelled and batch.rule.processing_ms:
                reached = int(reached * (batch.ends - batch.created) * 1000 / batch.rule.processing_ms)
            found = [
                self._canceled(item) if number >= reached else self._run(batch, item, dice)
                for number, item in enumerate(batch.items)
                if dice.random() >= batch.rule.missing
            ]
            if batch.rule.shuffled:
                dice.shuffle(found)
            batch.outcomes = found
        return batch.outcomes

    @staticmethod
    def _canceled(item: Item) -> Outcome:
        return Outcome(item.custom_id, "canceled", message="This request was canceled.")

    def _run(self, batch: Batch, item: Item, dice: random.Random) -> Outcome:
        if dice.random() < batch.rule.expired:
            return Outcome(item.custom_id, "expired", message="This request could not be executed in time.")
        identity = f"{dice.getrandbits(96):024x}"
        try:
            if dice.random() < batch.rule.failed:
                raise Refusal(500, "The simulator was asked to fail this request.")
            exchange = self._read(msgspec.json.encode(item.body), identity)
            answer = msgspec.json.decode(exchange.body(identity, int(batch.ends)))
        except Refusal as refusal:
            self._world.counts.add(self._provider, "batches.item", batch.model, refusal.status)
            return Outcome(item.custom_id, "errored", refusal.status, message=refusal.message)
        self._world.counts.add(self._provider, "batches.item", batch.model, 200)
        return Outcome(item.custom_id, "succeeded", 200, answer)
