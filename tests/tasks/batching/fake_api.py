"""A batch API in memory, and time that passes by sleeping."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gateway.clock import ManualClock
from gateway.providers.vendors.openai import OpenAIDialect
from tasks.batching.api import BatchGone, BatchItem, BatchTrouble


class PassingClock(ManualClock):
    """``sleep`` moves it."""

    async def sleep(self, seconds: float) -> None:
        self.advance(seconds)


def chat_answer(text: str) -> dict[str, object]:
    return {
        "choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10},
    }


@dataclass
class FakeBatches:
    """Answers each item with its id. Everything that a test may turn is a field."""

    clock: ManualClock
    takes: float = 10.0
    lost_ids: frozenset[str] = frozenset()
    """Items that no result has."""
    submissions_fail: bool = False
    answer_is_lost: bool = False
    """The batch is made, but the caller is not told."""
    failing_looks: int = 0
    forgets: bool = False
    keeps_notes: bool = True
    submitted: dict[str, tuple[str, tuple[str, ...], float]] = field(default_factory=dict)
    cancelled: set[str] = field(default_factory=set)
    dialect: OpenAIDialect = field(default_factory=OpenAIDialect)

    async def submit(self, record: str, items: Sequence[BatchItem], headers: Mapping[str, str]) -> str:
        if self.submissions_fail:
            raise BatchTrouble("refused")
        name = f"batch_{len(self.submitted) + 1}"
        self.submitted[name] = (record, tuple(item.id for item in items), self.clock.now())
        if self.answer_is_lost:
            raise BatchTrouble("time-out")
        return name

    async def find(self, record: str, size: int, since: float, known: frozenset[str]) -> str:
        for name, (whose, items, at) in self.submitted.items():
            fits = whose == record if self.keeps_notes else len(items) == size and at >= since
            if fits and name not in known:
                return name
        return ""

    async def has_ended(self, batch: str) -> bool:
        if self.forgets:
            raise BatchGone("not found")
        if self.failing_looks:
            self.failing_looks -= 1
            raise BatchTrouble("no connection")
        return batch in self.cancelled or self.clock.now() >= self.submitted[batch][2] + self.takes

    async def answers(self, batch: str) -> Mapping[str, object]:
        items = self.submitted[batch][1]
        done = items[: len(items) // 2] if batch in self.cancelled else items
        return {identity: chat_answer(identity) for identity in reversed(done) if identity not in self.lost_ids}

    async def cancel(self, batch: str) -> None:
        self.cancelled.add(batch)

    async def aclose(self) -> None:
        pass


def items(*names: str) -> list[BatchItem]:
    return [BatchItem(name, {"model": "small"}) for name in names]
