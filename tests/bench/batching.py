"""What batching background calls saves: the sample prompt's gate made singly, packed, and by batch API.

``python -m tests.bench batching [--seconds S]``. The provider is the simulator with a usual latency, which works
``S`` seconds on a batch. How long a real one takes is the provider's business, up to 24 hours: that time says nothing.
"""

import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
from pydantic import SecretStr
from rich.console import Console
from rich.table import Table
from sqlalchemy import func, select

from gateway.ledger.writer import LedgerWriter
from gateway.settings import Settings
from gateway.storage.engine import reading
from gateway.storage.models import CallRow
from gateway.types import Origin
from tasks.evaluated import question_of
from tasks.llm import LlmCall, LlmClient, Verdict, client, judge
from tasks.specs.bundle import bundle
from tasks.specs.model import BackgroundSpec
from tasks.specs.reading import SpecFile, read_spec
from tests.databases import new_database
from tests.gateway_stack import Simulator, simulator
from tests.servers import CACHE_ROLE, STATE_ROLE, start_redis

CONTENT = Path(__file__).parents[2] / "deployments" / "prompts" / "help-centre"
WAYS = {
    "one by one": BackgroundSpec(),
    "judge packed": BackgroundSpec(batching="packed"),
    "batch API": BackgroundSpec(batching="batch_api"),
}


@dataclass(frozen=True)
class Bill:
    """What one way of making the gate's calls took. ``requests`` reached the provider over HTTP, polls not counted."""

    requests: int
    answers: int
    input_tokens: int
    output_tokens: int
    usd: Decimal
    seconds: float
    mean_score: float


def run(seconds: float, console: Console) -> dict[str, Any]:
    """Prints the table; the figures by way, and under ``violations`` where batching saved nothing."""
    bills = measure(seconds)
    console.print(table(bills))
    single = bills["one by one"]
    violations = [
        f"{way}: {bill.answers} of {single.answers} judged, {bill.requests} requests, ${bill.usd:.4f}"
        for way, bill in bills.items()
        if bill is not single
        and not (bill.answers == single.answers and bill.requests < single.requests and bill.usd < single.usd)
    ]
    return {"ways": {way: asdict(bill) for way, bill in bills.items()}, "violations": violations}


def measure(batch_seconds: float) -> dict[str, Bill]:
    """Each way on the same documents, with an empty cache."""
    spec = read_spec(CONTENT / "prompt.yaml", {})
    with tempfile.TemporaryDirectory(prefix="promptyard-bench-") as folder, ExitStack() as closing:
        home = Path(folder)
        cache, state = start_redis(home / "cache", *CACHE_ROLE), start_redis(home / "state", *STATE_ROLE)
        closing.callback(cache.stop)
        closing.callback(state.stop)
        provider = closing.enter_context(simulator())
        provider.put({"latency_ms": {"p50": 400, "p95": 900}, "batch": {"processing_ms": batch_seconds * 1000}})
        bills: dict[str, Bill] = {}
        for number, (way, background) in enumerate(WAYS.items()):
            settings = Settings(
                home=home / str(number),
                database_url=new_database(home, f"ledger-{number}"),
                cache_redis_url=cache.url,
                state_redis_url=state.url,
                redis_timeout=5.0,
                openai_base_url=f"{provider.url}/v1",
                openai_api_key=SecretStr("bench"),
                anthropic_base_url=provider.url,
                anthropic_api_key=SecretStr("bench"),
                tenant=f"bench-{number}",  # answers of the ways before are another tenant's
            )
            online = client(settings)
            try:
                put_documents(online, settings.tenant)
                bills[way] = _bill(settings, online, spec, provider, background)
            finally:
                online.close()
        return bills


def put_documents(online: LlmClient, tenant: str) -> None:
    for file in sorted((CONTENT / "documents").glob("*.md")):
        title, _, text = file.read_text(encoding="utf-8").partition("\n")
        put = online.gateway.documents.put
        online.run(put(tenant, "help-centre", file.stem, title=title.removeprefix("# "), text=text.strip()), 60.0)


def _bill(
    settings: Settings, online: LlmClient, spec: SpecFile, provider: Simulator, background: BackgroundSpec
) -> Bill:
    httpx.delete(f"{provider.url}/admin/stats", timeout=10).raise_for_status()
    version = bundle(spec.spec, settings.tenant)
    begun = time.perf_counter()
    calls = [
        LlmCall(tenant=settings.tenant, origin=Origin.GATE, version=version, variables=item.variables)
        for item in spec.golden
    ]
    answers = online.complete(calls, background=background)
    verdicts = [
        Verdict(question_of(item.variables), result.text, item.reference, result.answer.call.context)
        for item, result in zip(spec.golden, answers, strict=True)
        if result.answer
    ]
    of = spec.spec.gate.judge
    judged = judge.fn(settings, settings.tenant, of.model, of.criteria, verdicts, background)
    seconds = time.perf_counter() - begun
    scores = [one.score for one in judged if one.score is not None]
    with LedgerWriter(online.gateway.engine, settings.spool_directory, online.gateway.clock) as writer:
        while writer.ship():
            pass
    with reading(online.gateway.engine) as session:
        tokens_in, tokens_out, usd = session.execute(
            select(func.sum(CallRow.input_tokens), func.sum(CallRow.output_tokens), func.sum(CallRow.cost_usd))
        ).one()
    return Bill(
        _requests(provider), len(scores), tokens_in, tokens_out, Decimal(usd), seconds, sum(scores) / len(scores)
    )


def _requests(provider: Simulator) -> int:
    rows = httpx.get(f"{provider.url}/admin/stats", timeout=10).json()["requests"]
    return sum(row["count"] for row in rows if row["endpoint"] != "batches.item")


def table(bills: dict[str, Bill]) -> Table:
    single = next(iter(bills.values()))
    shown = Table(title=f"the gate of the sample prompt: {single.answers} golden items answered and judged")
    for column in ("", "requests", "tokens in", "tokens out", "USD", "of single", "seconds", "mean score"):
        shown.add_column(column, justify="left" if not column else "right")
    for way, bill in bills.items():
        shown.add_row(
            way,
            f"{bill.requests:,}",
            f"{bill.input_tokens:,}",
            f"{bill.output_tokens:,}",
            f"{bill.usd:.4f}",
            f"{bill.usd / single.usd:.0%}",
            f"{bill.seconds:.1f}",
            f"{bill.mean_score:.3f}",
        )
    return shown
