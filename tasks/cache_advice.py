"""Whether a cache pays for a prompt, which one, and what to do where none does. Pure: facts in, advice out.

The thresholds are a policy's, not laws: a cache is work to run and a way to be wrong, so it has to save something.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

DAY = 86_400.0


class Kind(StrEnum):
    """What is recommended."""

    MULTI_LAYER = "multi-layer"
    EXACT = "exact only"
    IN_PROCESS = "in-process only"
    HTTP = "an HTTP cache in front"
    NONE = "no cache"
    UNKNOWN = "not known yet"


@dataclass(frozen=True)
class AdvicePolicy:
    """Shares are of 1, times are seconds, money is US dollars. ``redis_usd_month`` is what the shared cache costs to
    run; 0 where it runs beside the gateway on a machine that is there anyway."""

    most_diverse: float = 0.9
    freshest: float = 300.0
    least_calls_a_day: float = 100.0
    least_looked_at: int = 50
    """Calls below which nothing is said, unless the volume alone says it over ``least_days``."""
    least_days: float = 1.0
    least_observed: float = 3_600.0
    """Seconds below which nothing is said: a burst is no day."""
    little_left: float = 0.3
    """Diversity up to which the exact layer leaves too little for a semantic one."""
    semantic_pays_from: float = 0.02
    """Share of the answers that the semantic layer must serve to be worth its judge."""
    http_calls_a_day: float = 10_000.0
    http_head: float = 0.95
    http_freshest: float = 3_600.0
    in_process_questions: int = 2_000
    redis_usd_month: float = 15.0
    low_hit_rate: float = 0.2
    low_hit_rate_after: float = 7 * DAY
    long_prompt: float = 1_000.0
    """Input tokens from which a shorter prompt is worth thinking of."""


@dataclass(frozen=True)
class PromptFacts:
    """What was measured of one prompt within ``days``.

    ``questions`` distinct inputs among ``looked_at`` calls with known content; ``head``: share of the 50 most frequent.
    ``answer_life``: seconds after which an answer's documents change, None when none ever did. ``semantic_share``: of
    all answers, None while that layer is off or in shadow. ``hit_rate`` and ``saved_usd`` are what the cache did.
    """

    prompt: str
    days: float
    calls: int
    looked_at: int
    questions: int
    head: float
    with_user: float
    streamed: float
    ttl: float
    answer_life: float | None
    personal: bool
    cached: bool
    age: float
    """Seconds since the first call that is known of."""
    hit_rate: float
    semantic_share: float | None
    saved_usd: float
    cost_per_call: float | None
    input_tokens: float
    output_tokens: float
    cheaper: str = ""
    """The cheapest other model of its chain."""
    cheaper_per_call: float | None = None
    workers: int = 1
    memory_growth: float | None = None
    traffic_growth: float | None = None
    incidents: int = 0

    @property
    def calls_a_day(self) -> float:
        return self.calls / self.days if self.days else 0.0

    @property
    def diversity(self) -> float | None:
        """Distinct questions per call."""
        return self.questions / self.looked_at if self.looked_at else None

    @property
    def freshness(self) -> float:
        """Seconds for which an answer may be used: by the prompt's own word, or by how its documents change."""
        return self.ttl if self.answer_life is None else min(self.ttl, self.answer_life)


@dataclass(frozen=True)
class BreakEven:
    """Money a day. ``saves_usd``: at most, by how often the same is asked; None where no price is known.

    ``calls_a_day``: from so many calls a day on, the shared cache pays for itself.
    """

    saves_usd: float | None
    costs_usd: float
    calls_a_day: float | None

    @property
    def pays(self) -> bool | None:
        return None if self.saves_usd is None else self.saves_usd > self.costs_usd


@dataclass(frozen=True)
class Advice:
    """``why`` and ``instead`` are sentences, ``red_flags`` are what somebody should look at now."""

    prompt: str
    kind: Kind
    why: str
    break_even: BreakEven
    instead: tuple[str, ...] = ()
    red_flags: tuple[str, ...] = ()


def advise(facts: PromptFacts, policy: AdvicePolicy = AdvicePolicy()) -> Advice:
    money = break_even(facts, policy)
    kind, why = _choose(facts, policy, money)
    instead = what_instead(facts, policy) if kind is Kind.NONE else ()
    return Advice(facts.prompt, kind, why, money, instead, red_flags(facts, policy))


def break_even(facts: PromptFacts, policy: AdvicePolicy) -> BreakEven:
    """A question costs once; each of its repeats is saved."""
    costs = policy.redis_usd_month * 12 / 365
    if facts.cost_per_call is None or facts.diversity is None:
        return BreakEven(None, costs, None)
    saved_per_call = (1 - facts.diversity) * facts.cost_per_call
    needed = costs / saved_per_call if saved_per_call else None
    return BreakEven(saved_per_call * facts.calls_a_day, costs, needed)


def _choose(facts: PromptFacts, policy: AdvicePolicy, money: BreakEven) -> tuple[Kind, str]:
    if facts.personal:
        return Kind.NONE, "its answers are one user's own"
    if facts.days >= policy.least_days and facts.calls_a_day < policy.least_calls_a_day:
        return Kind.NONE, f"{facts.calls_a_day:.0f} calls a day are too few to repeat each other"
    if facts.looked_at < policy.least_looked_at or facts.diversity is None:
        return Kind.UNKNOWN, f"only {facts.looked_at} calls with known questions were looked at"
    if facts.days * DAY < policy.least_observed:
        return Kind.UNKNOWN, f"the calls are of {_time(facts.days * DAY)} only: an hour tells more of what repeats"
    if facts.freshness < policy.freshest:
        return Kind.NONE, f"an answer is right for {_time(facts.freshness)} only"
    semantic = facts.semantic_share or 0.0
    if facts.diversity > policy.most_diverse and semantic < policy.semantic_pays_from:
        return Kind.NONE, (
            f"{facts.diversity:.0%} of the calls ask something that nobody asked before: too few hits for its risk"
        )
    if _public_and_identical(facts, policy):
        return Kind.HTTP, (
            f"nobody's answer is his own, and the {_HEAD} most frequent requests are {facts.head:.0%} of all: "
            "they need not reach the gateway"
        )
    if facts.semantic_share is not None and semantic >= policy.semantic_pays_from:
        return Kind.MULTI_LAYER, f"the semantic layer answers {semantic:.0%} of the calls beyond what repeats exactly"
    if _fits_one_process(facts, policy, money):
        return Kind.IN_PROCESS, (
            f"{facts.questions} questions fit into each of {facts.workers} workers, and answering them once in each "
            "costs less than a shared cache"
        )
    if money.pays is False:
        return Kind.NONE, (
            f"it saves ${money.saves_usd:.2f} a day at most, and a shared cache costs ${money.costs_usd:.2f}"
        )
    if facts.diversity <= policy.little_left or facts.semantic_share is not None:
        return Kind.EXACT, f"{1 - facts.diversity:.0%} of the calls repeat another to the letter"
    return Kind.MULTI_LAYER, (
        f"{1 - facts.diversity:.0%} of the calls repeat another to the letter; of the others, the semantic layer in "
        "shadow tells how many mean the same"
    )


_HEAD = 50


def _public_and_identical(facts: PromptFacts, policy: AdvicePolicy) -> bool:
    return (
        facts.calls_a_day >= policy.http_calls_a_day
        and facts.head >= policy.http_head
        and facts.with_user == 0
        and facts.streamed == 0
        and facts.freshness >= policy.http_freshest
    )


def _fits_one_process(facts: PromptFacts, policy: AdvicePolicy, money: BreakEven) -> bool:
    """Each worker makes each answer once: that is what it costs more than a shared cache."""
    if facts.cost_per_call is None or facts.questions > policy.in_process_questions or not facts.days:
        return False
    again = facts.questions / facts.days * (facts.workers - 1) * facts.cost_per_call
    return again < money.costs_usd and (money.saves_usd or 0.0) > again


def what_instead(facts: PromptFacts, policy: AdvicePolicy) -> tuple[str, ...]:
    """Where a cache does not pay, the call itself has to become cheaper."""
    found: list[str] = []
    if facts.cheaper and facts.cheaper_per_call is not None and facts.cost_per_call:
        less = 1 - facts.cheaper_per_call / facts.cost_per_call
        found.append(
            f"A cheaper model: {facts.cheaper} of its own chain would cost ${facts.cheaper_per_call:.6f} a call "
            f"instead of ${facts.cost_per_call:.6f} ({less:.0%} less); the gate says whether it is good enough."
        )
    if facts.input_tokens >= policy.long_prompt and facts.input_tokens > facts.output_tokens:
        found.append(
            f"A shorter prompt: {facts.input_tokens:.0f} tokens go in for {facts.output_tokens:.0f} that come out; "
            "fewer or shorter passages (retrieval.top_k), and what never changes first, so that the provider caches it."
        )
    return tuple(found) or ("A cheaper model in the chain, or fewer tokens: nothing in its figures stands out.",)


def red_flags(facts: PromptFacts, policy: AdvicePolicy) -> tuple[str, ...]:
    found: list[str] = []
    if facts.cached and facts.age >= policy.low_hit_rate_after and facts.hit_rate < policy.low_hit_rate and facts.calls:
        found.append(f"The hit rate is {facts.hit_rate:.0%} after {facts.age / DAY:.0f} days.")
    if facts.memory_growth is not None and facts.memory_growth > max(0.0, facts.traffic_growth or 0.0) + 0.1:
        traffic = (
            "no traffic to compare with" if facts.traffic_growth is None else f"traffic {facts.traffic_growth:+.0%}"
        )
        found.append(f"The cache's memory grows faster than the traffic: {facts.memory_growth:+.0%} against {traffic}.")
    if facts.incidents:
        found.append(f"{facts.incidents} probes found an answer from documents that had changed.")
    return tuple(found)


def growth(values: Sequence[float]) -> float | None:
    """The mean of the later half against that of the earlier one, as a share; None with too little to say."""
    half = len(values) // 2
    if half < 2:
        return None
    before, after = sum(values[:half]) / half, sum(values[-half:]) / half
    return after / before - 1 if before > 0 else None


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"
