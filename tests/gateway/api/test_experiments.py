"""Experiments as callers meet them: one table, one port; an arm that fails is answered for; nothing leaks."""

import json
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from gateway.api.chat_request import read_call
from gateway.api.serving import Asker
from gateway.prompts.projection import read_routing
from gateway.prompts.splits import choose
from gateway.storage.engine import writing
from gateway.storage.models import CallRow, ExperimentRow
from gateway.types import ModelRef, Principal, PromptVersion, Route, RoutingTable
from tasks.experiments import store
from tests.gateway.api.conftest import Shop
from tests.gateway_stack import CLAUDE, Stack, prompt_version, put_into_production

NANO = ModelRef("openai", "gpt-4.1-nano")
DOWN = {"scope": {"model": "gpt-4.1-nano*"}, "error_rate": 1.0}


class Trial:
    """An open experiment of a shop's prompt: 1.0.0 against versions that ask another model."""

    def __init__(self, shop: Shop, policy: str, weights: Sequence[int], **spec: Any) -> None:
        self.shop, self.stack = shop, shop.stack
        self.published: list[tuple[float, float, Route]] = []
        """When each was on its way, when it was everywhere, and what it says."""
        versions = [f"1.{n}.0" for n in range(len(weights))]
        with writing(self.stack.engine) as session:
            for version in versions[1:]:
                put_into_production(session, arm(shop, version))
            put_into_production(session, prompt_version(shop.tenant, shop.prompt))
            session.flush()
            arms = [{"version": version, "weight": weight} for version, weight in zip(versions, weights, strict=True)]
            row = store.open_experiment(session, shop.tenant, shop.prompt, policy, arms, spec, self.stack.clock)
            table = read_routing(session)
        self.id = row.id
        self._push(table)

    def set_weights(self, weights: Sequence[int], segments: Mapping[str, Sequence[int]] | None = None) -> None:
        with writing(self.stack.engine) as session:
            epoch = session.get_one(ExperimentRow, self.id).epoch
            assert store.set_weights(session, self.id, weights, segments or {}, (), epoch, self.stack.clock)
            table = read_routing(session)
        self._push(table)

    def end(self) -> None:
        with writing(self.stack.engine) as session:
            assert store.end_experiment(session, self.id, "stopped", "enough", self.stack.clock)
            table = read_routing(session)
        self._push(table)

    def _push(self, table: RoutingTable | None) -> None:
        assert table is not None
        [route] = [route for route in table.routes if route.tenant == self.shop.tenant]
        begun = time.monotonic()
        self.stack.publish(table)
        self.published.append((begun, time.monotonic(), route))

    @property
    def route(self) -> Route:
        return self.published[-1][2]

    def in_force(self, begun: float, ended: float) -> list[Route]:
        """What may have served in that time: set before its end, and not everywhere replaced before its beginning."""
        replaced = [known for _, known, _ in self.published[1:]] + [float("inf")]
        return [
            route
            for (first, _, route), last in zip(self.published, replaced, strict=True)
            if first <= ended and begun <= last
        ]

    def user_of(self, version: str, traits: Mapping[str, str] | None = None) -> str:
        """Somebody who is on that arm."""
        names = (f"user-{n}" for n in range(10_000))
        return next(u for u in names if choose(self.route, u, traits or {}).arm.version.version == version)

    def rows(self) -> list[CallRow]:
        return self.stack.calls(self.shop.tenant)


def arm(shop: Shop, version: str, **changes: Any) -> PromptVersion:
    return prompt_version(shop.tenant, shop.prompt, version, **({"chain": (NANO,)} | changes))


def told(response: httpx.Response) -> dict[str, Any]:
    body: dict[str, Any] = response.raise_for_status().json()["promptyard"]
    return body


def test_an_ab_test_is_routed_recorded_and_shown(shop: Shop) -> None:
    trial = Trial(shop, "ab", [7_000, 3_000])
    people = [f"user-{n}" for n in range(12)]
    for user in people:
        answer = told(shop.ask(user=user))
        chosen = choose(trial.route, user, {})
        assert (answer["version"], answer["arm"]) == (chosen.arm.version.version, chosen.arm.name)
        assert (answer["experiment"], answer["release"], answer["fell_back_from"]) == (trial.id, None, None)
    assert told(shop.ask())["arm"] == "stable"
    rows = trial.rows()
    by_user = {row.user: row for row in rows}
    assert {row.experiment for row in rows} == {trial.id}
    for user in people:
        chosen = choose(trial.route, user, {})
        row = by_user[user]
        assert (row.version, row.propensity, row.weight, row.segment) == (
            chosen.arm.version.version,
            chosen.propensity,
            chosen.weight,
            "",
        )
        assert (row.evidence, row.layer) == (True, "none"), "evidence is made for each user anew"
    assert (by_user[""].propensity, by_user[""].evidence) == (None, False)
    shown = shop.http.get(f"/v1/prompts/{shop.prompt}", params={"user": "user-1"}).raise_for_status().json()
    assert shown["experiment"] == {
        "id": trial.id,
        "policy": "ab",
        "epoch": 0,
        "fall_back": False,
        "context_keys": [],
        "segments": {},
    }
    assert [(one["version"], one["share_of_users"]) for one in shown["arms"]] == [("1.0.0", 0.7), ("1.1.0", 0.3)]
    assert shown["user"]["version"] == by_user["user-1"].version
    trial.end()
    assert {told(shop.ask(user=user))["version"] for user in people} == {"1.0.0"}


def test_a_pinned_version_is_no_part_of_the_experiment(shop: Shop) -> None:
    trial = Trial(shop, "ab", [7_000, 3_000], fall_back=True)
    with shop.stack.simulator.faults(DOWN):
        refused = shop.ask(model=f"prompt:{shop.prompt}@1.1.0", user="user-1")
    assert refused.status_code == 502, "who names a version gets that one or none"
    (row,) = trial.rows()
    assert (row.experiment, row.propensity, row.evidence, row.status) == ("", None, False, "failed")


class TestFallBack:
    def test_the_baseline_answers_for_an_arm_that_fails(self, shop: Shop) -> None:
        trial = Trial(shop, "ab", [7_000, 3_000], fall_back=True)
        user = trial.user_of("1.1.0")
        with shop.stack.simulator.faults(DOWN):
            answer = told(shop.ask(user=user))
        assert (answer["version"], answer["arm"], answer["fell_back_from"]) == ("1.0.0", "stable", "1.1.0")
        assert (answer["provider"], answer["model"]) == ("openai", "gpt-4.1-mini")
        (row,) = trial.rows()
        assert (row.status, row.version, row.arm, row.fell_back_from) == ("ok", "1.0.0", "stable", "1.1.0")
        assert (row.experiment, row.propensity, row.weight) == (trial.id, 0.3, 3_000)
        assert not row.fell_back, "the provider that answered was the version's own first choice"
        seen = shop.http.get(f"/v1/calls/{row.id}").raise_for_status().json()
        failed = seen["route"]["fell_back_from"]
        assert (failed["version"], failed["error"]) == ("1.1.0", "all_providers_failed")
        assert {one["model"] for one in failed["attempts"]} == {"gpt-4.1-nano"}
        assert [one["model"] for one in seen["attempts"]] == ["gpt-4.1-mini"]
        assert seen["route"]["version"] == "1.0.0"
        scraped = shop.http.get("/metrics").text
        assert f'experiment_fallbacks_total{{prompt="{shop.prompt}",version="1.1.0"}} 1.0' in scraped

    def test_what_is_answered_again_says_the_same(self, shop: Shop) -> None:
        trial = Trial(shop, "ab", [7_000, 3_000], fall_back=True)
        body = {
            "model": f"prompt:{shop.prompt}",
            "variables": {"question": "When do parcels arrive?"},
            "user": trial.user_of("1.1.0"),
        }
        with shop.stack.simulator.faults(DOWN):
            first = shop.http.post("/v1/chat/completions", json=body, headers={"idempotency-key": "one"})
        again = shop.http.post("/v1/chat/completions", json=body, headers={"idempotency-key": "one"})
        assert told(again) == told(first)
        assert (told(again)["experiment"], told(again)["fell_back_from"]) == (trial.id, "1.1.0")

    def test_a_version_that_the_provider_refuses_is_answered_for_too(self, shop: Shop) -> None:
        """The fault may be the version's own: if it is the caller's, the baseline is refused as well."""
        trial = Trial(shop, "ab", [7_000, 3_000], fall_back=True)
        user = trial.user_of("1.1.0")
        with shop.stack.simulator.faults({**DOWN, "error_status": 400}):
            assert told(shop.ask(user=user))["fell_back_from"] == "1.1.0"
        with shop.stack.simulator.faults({"error_rate": 1.0, "error_status": 400}):
            assert shop.ask(user=user).status_code == 400
        last = trial.rows()[-1]
        assert (last.status, last.error, last.fell_back_from) == ("failed", "provider_rejected_request", "1.1.0")

    def test_a_stream_falls_back_before_its_first_byte(self, shop: Shop) -> None:
        trial = Trial(shop, "ab", [7_000, 3_000], fall_back=True)
        user = trial.user_of("1.1.0")
        with shop.stack.simulator.faults(DOWN):
            text, last = streamed(shop, user)
        assert "three days" in text
        assert (last["version"], last["fell_back_from"]) == ("1.0.0", "1.1.0")
        (row,) = trial.rows()
        assert (row.status, row.streamed, row.fell_back_from) == ("ok", True, "1.1.0")

    def test_after_the_first_byte_nobody_goes_on(self, shop: Shop) -> None:
        trial = Trial(shop, "ab", [7_000, 3_000], fall_back=True)
        user = trial.user_of("1.1.0")
        with shop.stack.simulator.faults({"scope": DOWN["scope"], "cut_after_chunks": 4}):
            _, last = streamed(shop, user)
        assert "fell_back_from" not in last
        (row,) = trial.rows()
        assert (row.status, row.error, row.version, row.fell_back_from) == ("failed", "stream_interrupted", "1.1.0", "")

    def test_where_both_fail_the_call_fails_once(self, shop: Shop) -> None:
        trial = Trial(shop, "ab", [7_000, 3_000], fall_back=True)
        user = trial.user_of("1.1.0")
        with shop.stack.simulator.faults({"error_rate": 1.0}):
            assert shop.ask(user=user).status_code == 502
        (row,) = trial.rows()
        assert (row.status, row.error, row.fell_back_from) == ("failed", "all_providers_failed", "1.1.0")
        assert {one["model"] for one in row.attempts} == {"gpt-4.1-mini", CLAUDE.model}, (
            "and nobody is asked twice over"
        )

    @pytest.mark.parametrize("spec", [{}, {"fall_back": False}])
    def test_unless_it_is_declared_the_arm_s_failure_is_the_caller_s(self, shop: Shop, spec: dict[str, Any]) -> None:
        trial = Trial(shop, "ab", [7_000, 3_000], **spec)
        user = trial.user_of("1.1.0")
        with shop.stack.simulator.faults(DOWN):
            assert shop.ask(user=user).status_code == 502
        (row,) = trial.rows()
        assert (row.status, row.version, row.fell_back_from) == ("failed", "1.1.0", "")

    def test_the_caller_s_own_errors_are_nobody_else_s(self, shop: Shop) -> None:
        trial = Trial(shop, "ab", [7_000, 3_000], fall_back=True)
        user = trial.user_of("1.1.0")
        assert shop.ask(user=user, variables={}).json()["error"]["code"] == "missing_variable"
        assert not [row for row in trial.rows() if row.fell_back_from]


def streamed(shop: Shop, user: str) -> tuple[str, dict[str, Any]]:
    """The text, and the last ``promptyard`` object."""
    body = {
        "model": f"prompt:{shop.prompt}",
        "variables": {"question": "When do parcels arrive?"},
        "user": user,
        "stream": True,
    }
    text = ""
    last: dict[str, Any] = {}
    with shop.http.stream("POST", "/v1/chat/completions", json=body) as response:
        for line in response.iter_lines():
            if line.startswith("data: {"):
                piece = json.loads(line.removeprefix("data: "))
                text += "".join(choice["delta"].get("content") or "" for choice in piece.get("choices", ()))
                last = piece.get("promptyard", last)
    return text, last


HELLO = {"role": "user", "content": "Hello"}
PRO = {"plan": "pro", "language": "de"}


class TestContext:
    def contextual(self, shop: Shop, **spec: Any) -> Trial:
        trial = Trial(shop, "contextual", [5_000, 5_000], context_keys=["plan", "language"], **spec)
        trial.set_weights([10_000, 0], {"plan=pro|language=de": [0, 10_000]})
        return trial

    def test_every_endpoint_takes_who_asks(self, shop: Shop) -> None:
        self.contextual(shop)
        question = {"question": "When do parcels arrive?"}
        for path, body in (
            ("/v1/chat/completions", {"model": f"prompt:{shop.prompt}", "metadata": PRO}),
            ("/v1/messages", {"model": f"prompt:{shop.prompt}", "metadata": {**PRO, "user_id": "u"}, "max_tokens": 99}),
            ("/v1/completion", {"prompt": shop.prompt, "context": PRO}),
            ("/v1/chat", {"prompt": shop.prompt, "context": PRO}),
        ):
            asked = {**body, "variables": question, "user": "user-1"}
            served = told(shop.http.post(path, json=asked))
            assert (path, served["version"]) == (path, "1.1.0")
            asked.pop("context" if "context" in asked else "metadata")
            assert told(shop.http.post(path, json=asked))["version"] == "1.0.0"
        segments = [row.segment for row in shop.stack.calls(shop.tenant)]
        assert segments == ["plan=pro|language=de", "plan=|language="] * 4
        shown = shop.http.get(f"/v1/prompts/{shop.prompt}", params={"user": "user-1", **PRO}).json()
        assert shown["user"]["version"] == "1.1.0"
        assert shown["experiment"]["segments"] == {"plan=pro|language=de": {"1.0.0": 0.0, "1.1.0": 1.0}}

    def test_who_asks_is_neither_in_the_key_nor_sent_on(self, shop: Shop) -> None:
        self.contextual(shop, evidence_share=0.0)
        assert shop.answer(user="one", metadata={"plan": "free"})[1] == "none"
        for number, metadata in enumerate(({"plan": "basic"}, {"plan": "free", "shoe_size": "43"}, None)):
            assert shop.answer(user=f"user-{number}", metadata=metadata)[1] == "exact"
        assert shop.answer(user="one", metadata=PRO)[1] == "none", "another version"
        body = shop.ask(user="one", metadata=PRO).text
        assert "plan" not in body
        assert "segment" not in body

    @pytest.mark.parametrize(
        ("body", "traits", "params"),
        [
            ({"metadata": PRO}, PRO, {}),
            ({"metadata": PRO, "store": True}, PRO, {"metadata": PRO, "store": True}),
            ({"metadata": {"plan": 1}}, {}, {"metadata": {"plan": 1}}),
            ({"metadata": {"plan": "p" * 513}}, {}, {"metadata": {"plan": "p" * 513}}),
            ({"metadata": {}}, {}, {"metadata": {}}),
            ({"metadata": "pro"}, {}, {"metadata": "pro"}),
            ({"metadata": PRO, "model": "gpt-4.1-mini", "messages": [HELLO]}, {}, {"metadata": PRO}),
        ],
    )
    def test_metadata_of_a_managed_prompt_stays_here(
        self, body: dict[str, Any], traits: Mapping[str, str], params: Mapping[str, Any]
    ) -> None:
        """Unless the provider is to store it, or it is nothing that could tell callers apart."""
        asker = Asker("call_1", 0.0, Principal("acme", "key_1"), frozenset({"openai"}))
        call = read_call({"model": "prompt:help", **body}, asker)
        assert (call.traits, call.params) == (traits, params)

    @pytest.mark.parametrize("context", [{"plan": 1}, {"p" * 65: "pro"}, {"plan": "p" * 513}, "pro"])
    def test_a_context_has_bounds(self, shop: Shop, context: object) -> None:
        asked = {"prompt": shop.prompt, "variables": {"question": "Why?"}, "context": context}
        assert shop.http.post("/v1/completion", json=asked).json()["error"]["code"] == "invalid_request"


PLANS = ("pro", "free", "other")


def test_a_table_that_is_swapped_under_load_drops_and_misroutes_nothing(stack: Stack, shop: Shop) -> None:
    """Every call gets the arm that its user has in a table which was in force at some time while it was under way."""
    trial = Trial(shop, "contextual", [5_000, 3_000, 2_000], context_keys=["plan"], evidence_share=0.0)
    over = threading.Event()

    def load(worker: int) -> list[tuple[float, float, str, str, httpx.Response]]:
        answers: list[tuple[float, float, str, str, httpx.Response]] = []
        with stack.http(shop.key) as http:
            while not over.is_set():
                user, plan = f"user-{worker}-{len(answers) % 20}", PLANS[len(answers) % 3]
                body = {
                    "model": f"prompt:{shop.prompt}",
                    "variables": {"question": "When do parcels arrive?"},
                    "user": user,
                    "metadata": {"plan": plan},
                }
                begun = time.monotonic()
                response = http.post("/v1/chat/completions", json=body)
                answers.append((begun, time.monotonic(), user, plan, response))
        return answers

    with ThreadPoolExecutor(4) as pool:
        workers = [pool.submit(load, worker) for worker in range(4)]
        try:
            for step in range(20):
                share = 500 * step
                trial.set_weights([10_000 - share, share, 0], {"plan=pro": [0, share, 10_000 - share]})
            trial.end()
        finally:
            over.set()
        answers = [answer for worker in workers for answer in worker.result(30)]
    assert [response.status_code for *_, response in answers] == [200] * len(answers)
    served: set[str] = set()
    for begun, ended, user, plan, response in answers:
        version = told(response)["version"]
        served.add(version)
        routes = trial.in_force(begun, ended)
        assert version in {choose(route, user, {"plan": plan}).arm.version.version for route in routes}
    assert served == {"1.0.0", "1.1.0", "1.2.0"}
    assert sum(len(trial.in_force(begun, ended)) == 1 for begun, ended, *_ in answers) > 20, "or nothing was told apart"
    assert len(trial.rows()) == len(answers), "and each is in the ledger, once"
