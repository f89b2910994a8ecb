"""What is played: how many calls, by how many users, from which pool. Pure and seeded."""

import itertools
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gateway.errors import InvalidRequest

DEFAULT_POOL = Path(__file__).resolve().parent.parent / "prompts" / "help-centre" / "traffic.jsonl"


@dataclass(frozen=True)
class Question:
    """A row of the pool. ``expect``: strings that a right answer contains; not answerable: it admits not knowing."""

    id: str
    text: str
    kind: str = "plain"
    answerable: bool = True
    expect: tuple[str, ...] = ()


@dataclass(frozen=True)
class TrafficPlan:
    """The same plan plays the same calls. Raises InvalidRequest for one that cannot be played.

    ``rate``: calls a second in all, 0 as fast as the workers go. ``duration``: seconds after which no call begins any
    more, 0 for no limit. ``zipf``: how popular the popular questions are. ``contexts``: keys that users say about
    themselves, each with its values; who has which is drawn once for each user.
    """

    base_url: str
    key: str = field(repr=False)
    prompt: str
    requests: int = 500
    users: int = 100
    workers: int = 8
    seed: int = 1
    rate: float = 0.0
    duration: float = 0.0
    feedback_share: float = 0.3
    user_prefix: str = "user-"
    variable: str = "question"
    zipf: float = 0.6
    timeout: float = 30.0
    pool: tuple[Question, ...] = ()
    contexts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("requests", "users", "workers"):
            if getattr(self, name) < 1:
                raise InvalidRequest(f"{name!r} must be at least 1", hint="Ask for one at least.")
        for name in ("rate", "duration", "zipf"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise InvalidRequest(f"{name!r} must be 0 or more", hint="0 stands for no limit.")
        if not 0 <= self.feedback_share <= 1:
            raise InvalidRequest("the share of feedback must be between 0 and 1", hint="Such as 0.3.")

    @property
    def api_url(self) -> str:
        """Where the SDK sends to; ``base_url`` may be given with or without ``/v1``."""
        return f"{self.base_url.rstrip('/').removesuffix('/v1')}/v1"


@dataclass(frozen=True)
class Turn:
    """One call: who asks what, and whether he will say what he thought of the answer."""

    number: int
    user: str
    question: Question
    feedback: bool
    context: Mapping[str, str] = field(default_factory=dict)


def read_contexts(given: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """``plan=free,pro`` of each key. Raises InvalidRequest for what is not of this form, or names a key twice."""
    contexts: dict[str, tuple[str, ...]] = {}
    for one in given:
        key, _, listed = one.partition("=")
        values = tuple(value.strip() for value in listed.split(",") if value.strip())
        if not key.strip() or not values or key.strip() in contexts:
            raise InvalidRequest(
                f"{one!r} names no new key with its values", hint="Such as --context plan=free,pro, once for each key."
            )
        contexts[key.strip()] = values
    return contexts


def read_pool(path: Path = DEFAULT_POOL) -> tuple[Question, ...]:
    """The questions of a JSONL file. Raises InvalidRequest, naming the line."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InvalidRequest(f"the pool {path} cannot be read: {error.strerror}", hint="--pool FILE.jsonl") from None
    questions: list[Question] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            questions.append(
                Question(
                    id=str(row.get("id", number)),
                    text=str(row["question"]),
                    kind=str(row.get("kind", "plain")),
                    answerable=bool(row.get("answerable", True)),
                    expect=tuple(str(one) for one in row.get("expect", ())),
                )
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidRequest(
                f"{path.name} line {number}: not a question ({type(error).__name__})",
                hint='Each line is like {"question": "...", "expect": ["..."]}.',
            ) from None
    if not questions:
        raise InvalidRequest(f"the pool {path} has no questions", hint="--pool FILE.jsonl")
    return tuple(questions)


def turns(plan: TrafficPlan) -> Iterator[Turn]:
    """The calls in order: the same plan plays the same calls. Users come in turn, so that new ones keep arriving."""
    order = random.Random(plan.seed)  # noqa: S311 - a game, not a secret
    pool = list(plan.pool or read_pool())
    order.shuffle(pool)
    weights = popularity(len(pool), plan.zipf)
    cumulative = list(itertools.accumulate(weights))
    for number in range(plan.requests):
        # Each user asks twice in a row before the next one comes: people rarely ask once.
        user = f"{plan.user_prefix}{(number // 2) % plan.users}"
        question = order.choices(pool, cum_weights=cumulative)[0]
        yield Turn(number, user, question, order.random() < plan.feedback_share, _context_of(user, plan))


def _context_of(user: str, plan: TrafficPlan) -> dict[str, str]:
    """A user says the same of himself each time."""
    return {
        key: random.Random(f"{plan.seed}/{key}/{user}").choice(values)  # noqa: S311 - a game, not a secret
        for key, values in plan.contexts.items()
    }


def popularity(size: int, exponent: float) -> Sequence[float]:
    """Zipf's weights ``1 / rank^exponent``; an exponent of 0 makes all questions alike."""
    return [1.0 / (rank**exponent) for rank in range(1, size + 1)]
