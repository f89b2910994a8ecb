"""Questions whose right answer is known, so that an answer of another tenant, question or document version shows.

Two prompts per tenant: one answers from documents that keep changing, one repeats words. Each document says its tenant,
its topic and its version.
"""

import random
import re
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from gateway.types import PromptVersion, RetrievalPolicy, Variable
from tests.gateway_stack import prompt_version

TOPICS = ("parcels", "refunds", "invoices", "vouchers")
CODES, ECHO = "codes", "echo"
_SECONDS_A_CALL = 5.0
_REPEATS = 0.5
_REMEMBERED = 40
_CODE = re.compile(r"\b([a-z]+)-([a-z]+)-v(\d+)\b")


def prompts(tenant: str) -> list[PromptVersion]:
    """Both with a second provider behind the first."""
    codes = prompt_version(
        tenant,
        CODES,
        retrieval=RetrievalPolicy(collection=CODES, query="{{question}}", top_k=1),
        total_timeout=_SECONDS_A_CALL,
    )
    echo = prompt_version(
        tenant,
        ECHO,
        template=({"role": "user", "content": 'Say exactly: "{{words}}"'},),
        variables=(Variable("words", max_chars=200),),
        retrieval=None,
        total_timeout=_SECONDS_A_CALL,
    )
    return [codes, echo]


def document(tenant: str, topic: str, version: int) -> dict[str, Any]:
    """The body of a PUT."""
    return {"title": topic.title(), "text": f"The {topic} code is {tenant}-{topic}-v{version}."}


@dataclass
class Topic:
    """A document's versions: the last one that was acknowledged, and the last one that was sent."""

    acknowledged: int = 0
    sent: int = 0


@dataclass(frozen=True)
class Question:
    """``fresh_from``: the version that was acknowledged when it was asked; 0 where there is no document."""

    tenant: str
    prompt: str
    variables: dict[str, str]
    topic: str = ""
    fresh_from: int = 0


@dataclass
class Tenant:
    """One tenant's documents and questions. ``draw`` decides what is asked next."""

    name: str
    key: str
    draw: random.Random
    topics: dict[str, Topic] = field(default_factory=lambda: {topic: Topic() for topic in TOPICS})
    _takes: int = 0
    _recent: deque[int] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))

    def ask(self) -> Question:
        """Half of the questions have been asked before."""
        if self._recent and self.draw.random() < _REPEATS:
            take = self.draw.choice(self._recent)
        else:
            self._takes += 1
            take = self._takes
            self._recent.append(take)
        if take % 2:
            return Question(self.name, ECHO, {"words": f"{self.name} says token {take}"})
        topic = TOPICS[take // 2 % len(TOPICS)]
        variables = {"question": f"What is the {topic} code, take {take}?"}
        return Question(self.name, CODES, variables, topic, self.topics[topic].acknowledged)

    def wrong(self, question: Question, text: str) -> str:
        """What is wrong with an answer; empty if nothing is."""
        if question.prompt == ECHO:
            return "" if text == question.variables["words"] else f"{question.variables['words']!r} was asked: {text!r}"
        found = _CODE.search(text)
        if found is None:
            return f"no code for {question.topic} of {self.name}: {text!r}"
        tenant, topic, version = found[1], found[2], int(found[3])
        if (tenant, topic) != (self.name, question.topic):
            return f"{question.topic} of {self.name} was asked, and the answer is {found[0]}"
        newest = self.topics[topic].sent
        if not question.fresh_from <= version <= newest:
            return f"{found[0]} was served when versions {question.fresh_from} to {newest} were true"
        return ""
