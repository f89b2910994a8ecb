"""The commands against the API's real shapes: a gateway that answers with views of rows."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deployments.cli.gateway_client import GatewayClient, GatewayRefused
from deployments.cli.jobs import watch
from gateway.api.job_response import ItemPage, JobPage, JobView
from gateway.storage.models import JobItemRow, JobRow
from tests.deployments.cli.conftest import Promptyard
from tests.deployments.cli.small_gateway import KEY, SmallGateway, serve_small_gateway

ID = "job_01jd3v5k8m2q4r6t8w0y2a4c6e"


def row(state: str, done: int = 0, failed: int = 0, error: str = "") -> JobRow:
    fields = {"kind": "completion", "request": {"prompt": "help", "version": "1.0.0"}, "total": 4, "created_at": 1.0}
    ended = {"cost_usd": 0.25, "flow_run": "", "started_at": None, "finished_at": None}
    return JobRow(id=ID, tenant="acme", state=state, done=done, failed=failed, error=error, **fields, **ended)


def item(seq: int, error: str) -> JobItemRow:
    state = "failed" if error else "done"
    return JobItemRow(
        job_id=ID, seq=seq, input={}, state=state, call_id="", error=error, message="because", cost_usd=None
    )


class Jobs(SmallGateway):
    """``states`` are what the job looks like from one look to the next; the last one stays."""

    def __init__(self) -> None:
        super().__init__()
        self.states = [row("queued")]

    def answer(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        path, _, _ = path.partition("?")
        if path == "/v1/jobs":
            return 200, JobPage.of(self.states[:1], 20).model_dump(mode="json")
        if path == f"/v1/jobs/{ID}/items":
            rows = [item(0, ""), item(1, "provider_error"), item(2, "provider_error"), item(3, "invalid_request")]
            return 200, ItemPage.of(rows, 500).model_dump(mode="json")
        if path == f"/v1/jobs/{ID}/cancel" and method == "POST":
            return 200, JobView.of(row("cancelling", done=1)).model_dump(mode="json")
        if path == f"/v1/jobs/{ID}":
            seen = self.states.pop(0) if len(self.states) > 1 else self.states[0]
            return 200, JobView.of(seen).model_dump(mode="json")
        return 404, {"error": {"code": "unknown_job", "message": "there is no such job", "hint": "Look."}}


@pytest.fixture
def gateway() -> Iterator[Jobs]:
    jobs = Jobs()
    with serve_small_gateway(jobs):
        yield jobs


@pytest.fixture
def jobs(promptyard: Promptyard, gateway: Jobs, home: Path) -> Promptyard:
    (home / "key").write_text(f"{KEY}\n")
    port = gateway.url.rsplit(":", 1)[1]

    def call(*arguments: str) -> Any:
        return promptyard("jobs", *arguments, PROMPTYARD_PORT=port, COLUMNS="100")

    return call


def test_list_shows_whole_ids_and_counts(jobs: Promptyard, gateway: Jobs) -> None:
    gateway.states = [row("running", done=1, failed=1)]
    listed = jobs("list").stdout
    assert all(text in listed for text in (ID, "completion", "running", "2/4"))
    assert json.loads(jobs("list", "--json").stdout)["jobs"][0]["id"] == ID


def test_show_says_how_far_what_it_cost_and_what_failed(jobs: Promptyard, gateway: Jobs) -> None:
    gateway.states = [row("running", done=1, failed=3)]
    shown = jobs("show", ID).stdout
    assert "running: 1 done, 3 failed, 0 waiting (100%)" in shown
    assert "$0.2500 so far" in shown
    assert "2 x provider_error: because\n  1 x invalid_request: because" in shown
    assert json.loads(jobs("show", ID, "--json").stdout)["counts"]["failed"] == 3


@pytest.mark.parametrize(("end", "status"), [("succeeded", 0), ("failed", 1), ("cancelled", 1)])
def test_wait_returns_at_the_end(jobs: Promptyard, gateway: Jobs, end: str, status: int) -> None:
    gateway.states = [row(end, done=4, error="none of them worked" if end == "failed" else "")]
    result = jobs("show", ID, "--wait")
    assert result.exit_code == status
    assert f"{end}: 4 of 4 items" in result.stderr
    assert ("none of them worked" in result.stdout) is (end == "failed")


def test_watching_ends_with_the_job(gateway: Jobs) -> None:
    gateway.states = [row("queued"), row("running", done=1), row("running", done=3), row("succeeded", done=4)]
    pauses: list[float] = []
    with GatewayClient(gateway.url, KEY) as client:
        assert watch(client, ID, pauses.append)["state"] == "succeeded"
    assert pauses == [1.0] * 3


def test_cancel_says_where_it_is(jobs: Promptyard) -> None:
    assert f"{ID} is cancelling." in jobs("cancel", ID).stdout
    assert json.loads(jobs("cancel", ID, "--json").stdout)["state"] == "cancelling"


def test_an_unknown_job_is_a_sentence(jobs: Promptyard) -> None:
    error = jobs("show", "job_x").exception
    assert isinstance(error, GatewayRefused)
    assert (error.refused_status, error.message) == (404, "there is no such job")
