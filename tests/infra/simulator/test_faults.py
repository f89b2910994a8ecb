"""Faults on demand: the rules' decisions, and what a real client meets."""

import random
import statistics

import httpx
import openai
import pytest

from infra.simulator.faults import FaultBoard, FaultRule, Latency, Scope

ASK = [{"role": "user", "content": 'Say "one two three four five six seven eight nine ten"'}]


class Watch:
    """Seconds that pass only when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def board(watch: Watch) -> FaultBoard:
    return FaultBoard(random.Random(1), watch, Latency(10, 25))


def _put(base_url: str, *rules: dict[str, object]) -> None:
    assert httpx.put(f"{base_url}/admin/faults", json={"rules": rules}).status_code == 200


def test_latency_has_the_quantiles_that_were_asked_for(board: FaultBoard) -> None:
    drawn = [board.decide("openai", "m", 1.0).latency * 1000 for _ in range(4_000)]

    assert statistics.median(drawn) == pytest.approx(10, rel=0.05)
    assert statistics.quantiles(drawn, n=20)[18] == pytest.approx(25, rel=0.1)


def test_a_slow_model_is_slower_by_default_but_obeys_a_rule(board: FaultBoard) -> None:
    slow = statistics.median(board.decide("openai", "m", 2.0).latency for _ in range(2_000))
    board.replace([FaultRule(latency_ms=300)])

    assert slow == pytest.approx(0.020, rel=0.1)
    assert board.decide("openai", "m", 2.0).latency == 0.3


@pytest.mark.parametrize(
    ("scope", "provider", "model", "hit"),
    [
        (Scope(), "openai", "gpt-4.1", True),
        (Scope(provider="openai"), "openai", "gpt-4.1", True),
        (Scope(provider="openai"), "anthropic", "claude-haiku-4-5", False),
        (Scope(model="gpt-4.1*"), "openai", "gpt-4.1-mini", True),
        (Scope(model="gpt-4.1"), "openai", "gpt-4.1-mini", False),
        (Scope(provider="anthropic", model="*haiku*"), "anthropic", "claude-haiku-4-5", True),
    ],
)
def test_a_rule_keeps_to_its_scope(board: FaultBoard, scope: Scope, provider: str, model: str, hit: bool) -> None:
    board.replace([FaultRule(scope=scope, outage=True)])

    assert board.decide(provider, model, 1.0).outage is hit


def test_the_error_rate_is_met(board: FaultBoard) -> None:
    board.replace([FaultRule(error_rate=0.3, error_status=503)])
    seen = [board.decide("openai", "m", 1.0).status for _ in range(2_000)]

    assert set(seen) == {None, 503}
    assert seen.count(503) / len(seen) == pytest.approx(0.3, abs=0.03)


def test_a_rate_limit_says_when_to_come_back(board: FaultBoard, watch: Watch) -> None:
    board.replace([FaultRule(rate_limit_per_minute=2)])
    first = [board.decide("openai", "m", 1.0).retry_after for _ in range(3)]
    watch.now += 45.5
    later = board.decide("openai", "m", 1.0).retry_after
    watch.now += 15
    after = board.decide("openai", "m", 1.0).retry_after

    assert first == [None, None, 60]
    assert later == 15
    assert after is None


def test_the_first_rule_that_sets_a_field_decides_it(board: FaultBoard) -> None:
    board.replace([FaultRule(latency_ms=5), FaultRule(latency_ms=900, malformed=True)])
    fault = board.decide("openai", "m", 1.0)

    assert (fault.latency, fault.malformed) == (0.005, True)


@pytest.mark.parametrize(
    "body",
    [
        '[{"error_rate": 2}]',
        '[{"error_rate": 0.5, "error_status": 200}]',
        '[{"bogus": 1}]',
        '[{"scope": {"provider": "acme"}}]',
        '[{"latency_ms": {"p50": 50, "p95": 10}}]',
        '[{"latency_ms": -1}]',
        '[{"rate_limit_per_minute": -1}]',
        "[{]",
        '"outage"',
    ],
)
def test_a_wrong_rule_is_refused_and_changes_nothing(base_url: str, body: str) -> None:
    _put(base_url, {"latency_ms": 1})
    answer = httpx.put(f"{base_url}/admin/faults", content=body)

    assert answer.status_code == 400
    assert answer.json()["error"]["message"]
    assert httpx.get(f"{base_url}/admin/faults").json() == {"rules": [{"latency_ms": 1.0}]}


def test_an_outage_closes_the_connection_of_that_provider_only(base_url: str, openai_client: openai.OpenAI) -> None:
    _put(base_url, {"scope": {"provider": "openai"}, "outage": True})
    with pytest.raises(openai.APIConnectionError):
        openai_client.chat.completions.create(model="m", messages=ASK)
    other = httpx.post(
        f"{base_url}/v1/messages",
        json={"model": "c", "max_tokens": 9, "messages": ASK},
        headers={"x-api-key": "k"},
    )
    httpx.delete(f"{base_url}/admin/faults")

    assert other.status_code == 200
    assert openai_client.chat.completions.create(model="m", messages=ASK).choices


def test_errors_and_limits_reach_the_client(base_url: str, openai_client: openai.OpenAI) -> None:
    _put(base_url, {"error_rate": 1, "error_status": 503})
    with pytest.raises(openai.InternalServerError) as failed:
        openai_client.chat.completions.create(model="m", messages=ASK)
    _put(base_url, {"rate_limit_per_minute": 1})
    openai_client.chat.completions.create(model="m", messages=ASK)
    with pytest.raises(openai.RateLimitError) as limited:
        openai_client.chat.completions.create(model="m", messages=ASK)

    assert failed.value.status_code == 503
    assert 1 <= int(limited.value.response.headers["retry-after"]) <= 60


def test_a_stream_can_be_cut_in_the_middle(base_url: str, openai_client: openai.OpenAI) -> None:
    _put(base_url, {"cut_after_chunks": 3})
    stream = openai_client.chat.completions.create(model="m", messages=ASK, stream=True)
    heard = [next(stream).choices[0].delta.content for _ in range(3)]

    assert "".join(h or "" for h in heard) == "one two three four five six"
    with pytest.raises(openai.APIConnectionError):
        next(stream)


def test_a_body_can_be_malformed(base_url: str) -> None:
    _put(base_url, {"malformed": True})
    answer = httpx.post(
        f"{base_url}/v1/chat/completions", json={"model": "m", "messages": ASK}, headers={"authorization": "Bearer k"}
    )

    assert answer.status_code == 200
    with pytest.raises(ValueError, match=r"Expecting|Unterminated|char"):
        answer.json()


def test_a_hanging_provider_is_left_by_the_callers_time_out(base_url: str) -> None:
    _put(base_url, {"hang": True})
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(
            f"{base_url}/v1/chat/completions",
            json={"model": "m", "messages": ASK},
            headers={"authorization": "Bearer k"},
            timeout=0.2,
        )


def test_calls_are_counted_by_provider_model_and_status(base_url: str, openai_client: openai.OpenAI) -> None:
    for _ in range(2):
        openai_client.chat.completions.create(model="gpt-4.1", messages=ASK)
    _put(base_url, {"error_rate": 1, "error_status": 500})
    with pytest.raises(openai.InternalServerError):
        openai_client.chat.completions.create(model="gpt-4.1", messages=ASK)
    _put(base_url, {"outage": True})
    with pytest.raises(openai.APIConnectionError):
        openai_client.embeddings.create(model="e", input="x")
    report = httpx.get(f"{base_url}/admin/stats").json()

    assert report["total"] == 4
    assert {(r["provider"], r["endpoint"], r["model"], r["status"], r["count"]) for r in report["requests"]} == {
        ("openai", "chat.completions", "gpt-4.1", 200, 2),
        ("openai", "chat.completions", "gpt-4.1", 500, 1),
        ("openai", "embeddings", "e", 0, 1),
    }
    assert httpx.delete(f"{base_url}/admin/stats").json()["total"] == 0
