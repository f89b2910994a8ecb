"""The shape of a prompt.yaml. Every field is checked; an unknown one is an error, because it is usually a typo."""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PositiveFloat, field_validator, model_validator

from gateway.prompts.template import TemplateError, names
from gateway.types import CachePlace, ModelRef, SemanticMode

SEMVER = re.compile(r"(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)")
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds(value: Any) -> Any:
    """``90``, ``"90s"``, ``"15m"``, ``"24h"`` or ``"7d"`` in seconds."""
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhd])\s*", value)
        if not match:
            raise ValueError(f"{value!r} is not a duration: write 90s, 15m, 24h or 7d")
        return float(match.group(1)) * _UNITS[match.group(2)]
    return value


Duration = Annotated[float, BeforeValidator(seconds), Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """Base of all sections: frozen, strict about unknown fields and numbers that are none."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class TemplateMessage(Section):
    """One message of the template."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str

    @field_validator("content")
    @classmethod
    def _parses(cls, value: str) -> str:
        try:
            names(value)
        except TemplateError as error:
            raise ValueError(str(error)) from None
        return value


class VariableSpec(Section):
    """A variable that the caller gives."""

    description: str = ""
    required: bool = True
    default: str = ""
    max_chars: int = Field(20_000, ge=1, le=200_000)


class RetrievalSpec(Section):
    """Which documents ground the answer."""

    collection: str = Field(pattern=r"^[A-Za-z0-9._-]{1,120}$")
    query: str = "{{question}}"
    top_k: int = Field(4, ge=1, le=50)
    into: str = Field("context", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")


class ModelSpec(Section):
    """The chain of models, first choice first, and how they are sampled."""

    chain: tuple[str, ...] = Field(min_length=1, max_length=6)
    temperature: float | None = Field(0.0, ge=0, le=2)
    max_tokens: int | None = Field(None, ge=1, le=200_000)
    timeout: Duration = Field(30.0, le=60)
    params: dict[str, Any] = Field(default_factory=dict, description="Further parameters in OpenAI's names.")

    @field_validator("chain")
    @classmethod
    def _links(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for link in value:
            ModelRef.parse(link)
        return value


class LayerSpec(Section):
    """One layer of the cache: ``off``, or ``{on: true, ttl: 1h}``. YAML reads a bare ``on`` as true, also as a key."""

    on: bool = True
    ttl: Duration = 86_400.0

    @model_validator(mode="before")
    @classmethod
    def _spelt_out(cls, given: Any) -> Any:
        if isinstance(given, bool):
            return {"on": given}
        return (
            {"on" if key is True else key: value for key, value in given.items()} if isinstance(given, dict) else given
        )


class LocalSpec(LayerSpec):
    """Each worker's own memory in front of Redis; another worker's newer answer is seen after ``ttl`` at the latest."""

    on: bool = False
    ttl: Duration = 10.0


Switch = BeforeValidator(lambda v: {False: "off", True: "on"}.get(v, v) if isinstance(v, bool) else v)
"""YAML reads a bare off as false."""


class SemanticSpec(Section):
    """Answers to questions that mean the same: ``off``, ``shadow`` (looks, never serves), ``on`` (once proved)."""

    mode: Annotated[SemanticMode, Switch] = SemanticMode.SHADOW
    ttl: Duration = 86_400.0
    max_wrong: float = Field(0.03, gt=0, le=0.5, description="Most wrong answers per hit that the bound may allow.")
    precision: float = Field(0.98, gt=0.5, lt=1, description="What the threshold is fitted for.")
    variable: str = Field("", description="The variable that is compared; all others must be equal.")
    multi_turn: bool = Field(False, description="Compare questions with an equal history too.")
    judged_share: Share = Field(0.2, description="Share of the candidates that a judge compares.")
    sampled_share: Share = Field(0.05, description="Share of the served hits that are made anew and compared.")

    @model_validator(mode="before")
    @classmethod
    def _spelt_out(cls, given: Any) -> Any:
        """``semantic: shadow`` is ``semantic: {mode: shadow}``."""
        return {"mode": given} if isinstance(given, bool | str) else given


class CacheSpec(Section):
    """The answer cache of this prompt, layer by layer."""

    exact: bool = True
    ttl: Duration = 86_400.0
    above_zero: bool = Field(False, description="Keep answers above temperature 0 too.")
    warm_top: int = Field(50, ge=0, le=5000)
    stale_for: Annotated[float, BeforeValidator(seconds), Field(ge=0, le=30 * 86_400.0)] = Field(
        0.0, description="How long past its TTL an answer may stand in, marked stale, while every provider is down."
    )
    refresh_within: Annotated[float, BeforeValidator(seconds), Field(ge=0, le=7 * 86_400.0)] = Field(
        0.0, description="How long past its TTL an aged answer is served while it is made anew."
    )
    early_refresh: float = Field(1.0, ge=0, le=10, description="How early an answer is made anew by chance; 0: never.")
    tags: tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,80}$")], ...] = Field((), max_length=16)
    place: CachePlace = Field(CachePlace.SHARED, description="shared: Redis. process: each worker's own memory.")
    local: LocalSpec = Field(default_factory=LocalSpec)
    embedding: LayerSpec = Field(default_factory=LayerSpec)
    context: LayerSpec = Field(default_factory=LayerSpec)
    semantic: SemanticSpec = Field(default_factory=SemanticSpec)


_CEILINGS = ("min_words", "max_words", "max_chars", "max_cost_usd", "max_latency_ms")


class Assertion(Section):
    """A check of an answer that needs no model."""

    type: Literal[
        "contains",
        "not_contains",
        "regex",
        "json_schema",
        "min_words",
        "max_words",
        "max_chars",
        "cites",
        "refuses",
        "max_cost_usd",
        "max_latency_ms",
    ]
    value: str | bool | int | float | dict[str, Any] = ""

    @model_validator(mode="after")
    def _value_fits(self) -> Self:
        texts = ("contains", "not_contains", "regex")
        if self.type in texts and (not isinstance(self.value, str) or self.value == ""):
            raise ValueError(f"{self.type!r} needs a value of type str")
        if self.type in _CEILINGS:
            kind = float if self.type.startswith("max_cost") or self.type.endswith("_ms") else int
            fits = isinstance(self.value, int | float if kind is float else int) and not isinstance(self.value, bool)
            if not fits or (isinstance(self.value, int | float) and self.value < 0):
                raise ValueError(f"{self.type!r} needs a value of type {kind.__name__}, 0 or more")
        if self.type == "refuses" and not isinstance(self.value, bool):
            raise ValueError("'refuses' needs true or false")
        if self.type == "cites" and not isinstance(self.value, str):
            raise ValueError("'cites' needs the id of a document, or no value for any document")
        if self.type == "json_schema":
            _require_schema(self.value)
        if self.type == "regex":
            try:
                re.compile(str(self.value))
            except re.error as error:
                raise ValueError(f"{self.value!r} is not a regular expression: {error}") from None
        return self


def _require_schema(value: Any) -> None:
    """Raises ValueError for what is no JSON schema (draft 2020-12)."""
    if not isinstance(value, dict):
        raise ValueError("'json_schema' needs a schema, as a mapping")
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError

    try:
        Draft202012Validator.check_schema(value)
    except SchemaError as error:
        raise ValueError(f"is not a JSON schema: {error.message[:200]}") from None


class JudgeSpec(Section):
    """The model that scores answers, and what it looks at."""

    model: str = "openai/gpt-4.1"
    criteria: tuple[str, ...] = Field(("accuracy", "helpfulness"), min_length=1)
    anchors: str = Field("", description="Frozen examples with their scores, beside the spec: does the judge drift?")

    @field_validator("model")
    @classmethod
    def _ref(cls, value: str) -> str:
        ModelRef.parse(value)
        return value


class EvaluatorSpec(Section):
    """A further metric of the gate, each answer scored in [0, 1].

    ``similarity`` to the reference; ``pairwise``: the judge prefers it to production's answer, in both orders;
    ``function``: one of the user's, ``file.py:function`` beside the prompt.yaml.
    """

    type: Literal["similarity", "pairwise", "function"]
    name: str = Field("", pattern=r"^([a-z][a-z0-9_]{0,39})?$", description="Of the metric; by default its own.")
    function: str = Field("", description="file.py:function, in the prompt's folder.")
    timeout: Duration = Field(10.0, le=60, description="Seconds that a function may take for an answer.")
    margin: float | None = Field(None, gt=0, lt=1, description="As the gate's, where it is another one.")
    floor: Share | None = Field(None, description="Mean that a version must reach in any case.")
    decides: bool = Field(True, description="False: it is reported, and holds nobody up.")

    @property
    def metric(self) -> str:
        own = {"similarity": "similarity", "pairwise": "preferred"}
        return self.name or own.get(self.type) or self.function.partition(":")[2].lower()

    @model_validator(mode="after")
    def _function_is_named(self) -> Self:
        if (self.type == "function") != bool(self.function):
            raise ValueError("'function' names file.py:function where the type is function, and nowhere else")
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,39}", self.metric):
            raise ValueError(f"{self.metric!r} cannot be a metric's name: give the evaluator a 'name'")
        return self


class TrafficSpec(Section):
    """Live questions of the ledger on which a candidate is replayed beside the version in production."""

    sample: int = Field(0, ge=0, le=5000, description="Distinct questions; 0: none.")
    within: Duration = Field(86_400.0, le=90 * 86_400, description="How far back they were asked.")
    seed: int = Field(0, ge=0, description="Another seed, another sample.")


class GateBudgetSpec(Section):
    """What one run of the gate may take; it is estimated before the first call, and refused when it is too much."""

    calls: int | None = Field(None, ge=1)
    usd: float | None = Field(None, gt=0)


class GateSpec(Section):
    """When a version may go on. ``margin``: how much worse than production its mean score may be."""

    golden: str = Field("golden.jsonl", description="A file beside the spec, or mlflow:NAME of a dataset in MLflow.")
    must_pass: str = Field("", description="As golden; empty: none.")
    traffic: TrafficSpec = Field(default_factory=TrafficSpec)
    judge: JudgeSpec = Field(default_factory=JudgeSpec)
    assertions: tuple[Assertion, ...] = ()
    evaluators: tuple[EvaluatorSpec, ...] = Field((), max_length=16)
    margin: float = Field(0.05, gt=0, lt=1)
    floor: Share = 0.8
    floors: dict[str, Share] = Field(default_factory=dict, description="Of criteria of the judge, each by itself.")
    alpha: float = Field(0.05, gt=0, lt=0.5)
    repeats: int = Field(1, ge=1, le=20)
    more_repeats: int = Field(0, ge=0, le=20, description="Of items that changed or are flaky: is the fall real?")
    budget: GateBudgetSpec = Field(default_factory=GateBudgetSpec)

    @model_validator(mode="after")
    def _metrics_are_told_apart(self) -> Self:
        names = ["score", "live_questions", *self.judge.criteria, *(one.metric for one in self.evaluators)]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"two metrics are called {twice[0]!r}: give an evaluator a 'name' of its own")
        if unknown := sorted(set(self.floors) - set(self.judge.criteria)):
            raise ValueError(f"floors.{unknown[0]}: the judge has no such criterion; an evaluator has its own 'floor'")
        return self


class BackgroundSpec(Section):
    """How the model calls of gate, warm-up and scoring are made.

    ``packed``: several answers are judged in one call, with one verdict each; those that do not come back are judged
    one by one. ``batch_api``: calls go through the providers' batch APIs, for half the price and an answer within
    ``wait``; those that do not come back are made one by one.
    """

    batching: Annotated[
        Literal["off", "packed", "batch_api"], BeforeValidator(lambda v: "off" if v is False else v)
    ] = "off"  # YAML reads a bare off as false
    pack: int = Field(8, ge=2, le=20, description="Answers judged in one call.")
    wait: Duration = Field(3600.0, le=86_400, description="A batch that takes longer is cancelled.")

    @property
    def pack_size(self) -> int:
        return self.pack if self.batching == "packed" else 1


class MirrorSpec(Section):
    """Before any user sees a candidate: a share of the live calls is also sent to it, in the background.

    A guardrail that is set to null is reported and holds nobody up.
    """

    share: float = Field(10.0, ge=0.01, le=100, description="Percent of the live calls that are answered anew.")
    calls: int = Field(50, ge=10, le=5_000, description="Pairs, each of another user, that have to be compared.")
    max_hours: float = Field(24.0, gt=0, le=14 * 24, description="With fewer pairs by then it ends inconclusive.")
    budget_usd: float = Field(1.0, gt=0, description="A day, for mirrored calls alone; the prompt's own is untouched.")
    judged: int = Field(20, ge=0, le=500, description="Pairs of answers that the judge compares; 0: none.")
    max_latency_ratio: float | None = Field(2.0, ge=1, description="Times that a candidate may take as long, usually.")
    max_cost_ratio: float | None = Field(2.0, ge=1, description="Times that a candidate may cost as much, usually.")


class SloSpec(Section):
    """Limits of single answers, as guardrails of their own: neither may be exceeded more often than before.

    ``frozen`` is what ``quantile`` of the answers in production stayed within over the two weeks before the release
    was opened; with too few answers there is no such guardrail.
    """

    latency_ms: PositiveFloat | Literal["frozen"] | None = "frozen"
    cost_usd: PositiveFloat | Literal["frozen"] | None = "frozen"
    quantile: float = Field(0.95, ge=0.5, lt=1)


class CanarySpec(Section):
    """How live traffic decides. ``steps`` are percent of the users; they only grow."""

    steps: tuple[float, ...] = (10.0, 25.0, 50.0)
    alpha: float = Field(0.05, gt=0, lt=1)
    margin: float = Field(0.05, gt=0, lt=1)
    tolerance: float = Field(0.0, ge=0, lt=1, description="How much worse is still no reason to roll back.")
    block_stable_users: int = Field(4, ge=1, le=20, description="k: stable users that one canary user is held against.")
    window: Duration = Field(900.0, description="How long a user's answers are collected before they count.")
    scoring_grace: Duration = Field(120.0, description="Scores that arrive later are reported, never tested.")
    concurrency: Duration = Field(4 * 3600.0, description="How far apart the users of a comparison may have come.")
    min_step: Duration = Field(300.0, description="A step lasts at least this long.")
    min_blocks: int = Field(10, ge=1, description="A step sees at least this many canary users.")
    max_duration: Duration = Field(14 * 86_400.0, description="After this the release ends inconclusive.")
    slo: SloSpec | None = Field(None, description="Slow and dear answers count too; {} freezes both limits.")
    evidence_share: Share = Field(
        1.0, description="Share of each arm's users whose calls bypass the cache as evidence."
    )
    mirror: MirrorSpec | None = Field(None, description="Compare on mirrored calls first; {} has the defaults.")

    @field_validator("steps")
    @classmethod
    def _grow(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not value or list(value) != sorted(set(value)) or value[0] < 0.01 or value[-1] > 95:
            raise ValueError("steps must grow, from 0.01 to at most 95 percent, such as [10, 25, 50]")
        return value


class BudgetSpec(Section):
    """What the prompt may cost."""

    daily_usd: float | None = Field(None, gt=0)
    alert_at: Share = 0.8


class JudgeCounts(Section):
    """How the judge did on labelled examples, with ``resolved_from`` as its limit: see 'promptyard judge calibrate'."""

    true_resolved: int = Field(ge=0, description="Resolved, and the judge said so.")
    missed: int = Field(ge=0, description="Resolved, and the judge said no.")
    true_unresolved: int = Field(ge=0, description="Not resolved, and the judge said so.")
    false_resolved: int = Field(ge=0, description="Not resolved, and the judge said that it was.")


class ValueSpec(Section):
    """What answers are worth, in US dollars; model costs are measured."""

    resolved: float = Field(ge=0, description="A question that the answer resolved.")
    escalation: float = Field(0.0, ge=0, description="What one costs that it did not: somebody else has to answer.")
    waiting_minute: float = Field(0.0, ge=0, description="What a minute of waiting costs.")
    resolved_from: Share = Field(0.7, description="Judged quality from which a question counts as resolved.")
    calls_per_day: float | None = Field(
        None, gt=0, description="What a year is projected from; by default the traffic that the release saw."
    )
    judge: JudgeCounts | None = None

    def calls_per_year(self, seen: int, seconds: float) -> float:
        """As declared, or as many as these calls in so many seconds make."""
        return 365 * (self.calls_per_day or seen * 86_400 / max(seconds, 1.0))


class Approval(StrEnum):
    NONE = "none"
    REQUIRED = "required"


def _offered_by_caller(params: Mapping[str, Any]) -> set[str]:
    """Names of the tools, in OpenAI's shape, that answer to the caller of the prompt."""
    offered = params.get("tools")
    tools = offered if isinstance(offered, list) else []
    functions = [tool.get("function") for tool in tools if isinstance(tool, dict)]
    return {str(function.get("name")) for function in functions if isinstance(function, dict)}


class PromptSpec(Section):
    """A whole prompt.yaml."""

    schema_version: Literal[1] = Field(1, alias="schema")
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,79}$")
    version: str
    description: str = ""
    author: str = ""
    changelog: str = ""
    template: tuple[TemplateMessage, ...] = Field(min_length=1)
    variables: dict[str, VariableSpec] = Field(default_factory=dict)
    retrieval: RetrievalSpec | None = None
    model: ModelSpec
    cache: CacheSpec = Field(default_factory=CacheSpec)
    gate: GateSpec = Field(default_factory=GateSpec)
    background: BackgroundSpec = Field(default_factory=BackgroundSpec)
    canary: CanarySpec = Field(default_factory=CanarySpec)
    tools: tuple[str, ...] = Field((), max_length=16, description="Registered tools that the model may call.")
    budget: BudgetSpec = Field(default_factory=BudgetSpec)
    value: ValueSpec | None = None
    approval: Approval = Approval.NONE
    personal: bool = Field(False, description="Answers are one user's own: no cache keeps them.")

    @field_validator("version")
    @classmethod
    def _semver(cls, value: str) -> str:
        if len(value) > 40 or not SEMVER.fullmatch(value):
            raise ValueError(f"{value!r} is not a semantic version such as 1.2.0")
        return value

    @field_validator("tools")
    @classmethod
    def _tool_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name):
                raise ValueError(f"{name!r} cannot be a tool's name: GET /v1/tools lists what is registered")
        if len(set(value)) < len(value):
            raise ValueError("a tool is named twice")
        return value

    @field_validator("variables")
    @classmethod
    def _variable_names(cls, value: dict[str, VariableSpec]) -> dict[str, VariableSpec]:
        for name in value:
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
                raise ValueError(f"{name!r} cannot be a variable's name: letters, digits and underscores only")
        return value

    @model_validator(mode="after")
    def _may_be_mirrored(self) -> Self:
        if self.canary.mirror is not None and self.personal:
            raise ValueError("canary.mirror: personal calls are not mirrored, and this prompt has no others")
        return self

    @model_validator(mode="after")
    def _tools_have_what_they_need(self) -> Self:
        if "search_documents" in self.tools and self.retrieval is None:
            raise ValueError("search_documents looks into the prompt's collection, which 'retrieval' has to name")
        if taken := [tool for tool in self.tools if tool in _offered_by_caller(self.model.params)]:
            raise ValueError(f"model.params offers a tool of its own that is called {taken[0]!r} too")
        return self

    @model_validator(mode="after")
    def _variables_are_declared(self) -> Self:
        declared = set(self.variables)
        filled = {self.retrieval.into} if self.retrieval else set()
        used = {name for message in self.template for name in names(message.content)}
        if undeclared := sorted(used - declared - filled):
            raise ValueError(
                f"the template uses {{{{{undeclared[0]}}}}}, which is not declared under 'variables'"
                + (f" (nor is it what retrieval fills, {{{{{self.retrieval.into}}}}})" if self.retrieval else "")
            )
        if self.retrieval:
            asked = set(names(self.retrieval.query))
            if undeclared := sorted(asked - declared):
                raise ValueError(f"retrieval.query uses {{{{{undeclared[0]}}}}}, which is not declared")
            if self.retrieval.into not in used:
                raise ValueError(f"retrieval fills {{{{{self.retrieval.into}}}}}, but the template does not use it")
            if self.retrieval.into in declared:
                raise ValueError(f"{{{{{self.retrieval.into}}}}} is filled by retrieval: take it out of 'variables'")
            used |= asked
        if unused := sorted(declared - used):
            raise ValueError(f"the variable {unused[0]!r} is declared but never used")
        return self
