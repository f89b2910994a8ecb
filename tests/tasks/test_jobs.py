"""Jobs through the real online path: answers, prices, ledger and documents as those of live calls."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import structs
from sqlalchemy import select

from gateway.auth.keys import create_key, revoke_key
from gateway.clock import ManualClock, new_id
from gateway.jobs import running, store
from gateway.jobs.rules import JobKind, call_id
from gateway.jobs.store import NewJob
from gateway.storage.engine import reading, writing
from gateway.storage.models import CallRow, JobItemRow, JobRow, PromptRow
from gateway.types import Call
from tasks.jobs import PAUSE, JobReport, cancel_jobs_of, forget_old, work_on_next
from tests.tasks.conftest import Station
from tests.tasks.rows import prompt_rows

pytestmark = pytest.mark.integration


class Desk:
    """Accepts jobs for a key of acme and works on them as a run does."""

    def __init__(self, station: Station, clock: ManualClock) -> None:
        self.station, self.clock, self.engine = station, clock, station.engine
        self.key = create_key(self.engine, clock, "acme", "bulk", ["jobs", "chat", "documents:write"])[1].id

    def accept(self, kind: JobKind, request: dict[str, Any], *items: dict[str, Any]) -> str:
        new = NewJob(
            id=new_id("job", self.clock), tenant="acme", key_id=self.key, kind=kind, request=request, items=items
        )
        return store.accept(self.engine, self.clock, new, most_open=9).id

    def completions(self, *questions: str, **request: Any) -> str:
        shared = {"prompt": "help", "model": "", "params": {}, "promptyard": {}, **request}
        return self.accept(JobKind.COMPLETION, shared, *({"variables": {"question": one}} for one in questions))

    def imports(self, *documents: tuple[str, str], folder: str = "") -> str:
        items = [{"id": id, "title": id, "text": text, "attributes": {}} for id, text in documents]
        return self.accept(JobKind.IMPORT, {"collection": "articles", "folder": folder}, *items)

    def work(self, owner: str = "run", **changes: Any) -> JobReport | None:
        settings = self.station.settings.model_copy(update=changes)
        return work_on_next.fn(settings, self.clock, owner, flow_run="flow", in_flight=3)

    def job(self, job: str) -> JobRow:
        return store.get(self.engine, "acme", job)

    def items(self, job: str) -> list[JobItemRow]:
        return store.items(self.engine, "acme", job)

    def calls(self) -> list[CallRow]:
        self.station.ship()
        with reading(self.engine) as session:
            return list(session.scalars(select(CallRow)))


@pytest.fixture
def desk(station: Station, clock: ManualClock) -> Desk:
    return Desk(station, clock)


def text(item: JobItemRow) -> str:
    assert item.output is not None, item.message
    return str(item.output["choices"][0]["message"]["content"])


def test_bulk_completions_are_live_answers_with_an_origin_of_their_own(desk: Desk) -> None:
    desk.station.put("refunds", "Refunds take ten days.")
    questions = ("refunds one", "refunds two", "refunds one")
    job = desk.completions(*questions)
    report = desk.work()
    assert report is not None
    assert (report.id, report.state, report.done, report.failed, report.progress) == (job, "succeeded", 3, 0, 1.0)
    items = desk.items(job)
    for item, question in zip(items, questions, strict=True):
        assert question in text(item)
        assert "Refunds take ten days." in text(item)
        assert item.output is not None
        assert item.output["object"] == "chat.completion"
        assert item.output["id"] == item.call_id == call_id(job, item.seq, 0)
    rows = {row.id: row for row in desk.calls()}
    assert set(rows) == {item.call_id for item in items}
    assert {(row.origin, row.key_id, row.version, row.evidence) for row in rows.values()} == {
        ("job", desk.key, "1.0.0", False)
    }
    assert desk.station.provider.calls == 2, "the cache and coalescing serve jobs too"
    assert desk.job(job).cost_usd == sum(row.cost_usd or 0 for row in rows.values()) > 0
    assert desk.work() is None


def test_a_model_without_a_prompt(desk: Desk) -> None:
    shared = {"prompt": "", "model": "gpt-4.1-mini", "params": {"temperature": 0}, "promptyard": {"cache": "bypass"}}
    item = {"messages": [{"role": "user", "content": "hello"}], "user": "u1"}
    job = desk.accept(JobKind.COMPLETION, shared, item)
    desk.work()
    assert text(desk.items(job)[0]) == "hello"
    (row,) = desk.calls()
    assert (row.user, row.cache_reason, row.prompt) == ("u1", "bypass", "")


def test_an_item_that_fails_fails_alone(desk: Desk) -> None:
    job = desk.completions("fine", *["x" * 20_001], "fine too")
    report = desk.work()
    assert report is not None
    assert (report.state, report.done, report.failed) == ("succeeded", 2, 1)
    assert [(item.state, item.error) for item in desk.items(job)] == [
        ("done", ""),
        ("failed", "invalid_request"),
        ("done", ""),
    ]


def test_an_outage_waits_for_better_times(desk: Desk) -> None:
    job = desk.completions("one", "two")
    desk.station.provider.down = True
    report = desk.work()
    assert report is not None
    assert (report.state, report.done, report.failed) == ("running", 0, 0)
    assert desk.work() is None
    desk.station.provider.down = False
    desk.clock.advance(PAUSE)
    report = desk.work()
    assert report is not None
    assert (report.state, report.done) == ("succeeded", 2)
    calls = {row.id: row.status for row in desk.calls()}
    assert calls == {call_id(job, seq, attempt): ("failed", "ok")[attempt] for seq in (0, 1) for attempt in (0, 1)}


def test_one_version_answers_the_whole_job(desk: Desk) -> None:
    newer = structs.replace(desk.station.version, version="2.0.0", template=({"role": "user", "content": "new"},))
    job = desk.completions("one", "two")
    held = running.claim(desk.engine, desk.clock, "killed", 60)
    assert held is not None
    running.note(desk.engine, job, "killed", {**held.request, "version": "1.0.0"})
    with writing(desk.engine) as session:
        session.get_one(PromptRow, ("acme", "help")).production = "2.0.0"
        (_, row) = prompt_rows(production="2.0.0", bundle=msgspec.to_builtins(newer))
        session.add(row)
    desk.clock.advance(60)
    later = desk.completions("three")
    for _ in range(2):
        desk.work()
    assert "one" in text(desk.items(job)[0])
    assert text(desk.items(later)[0]) == "new"
    assert desk.job(later).request["version"] == "2.0.0"


def test_a_prompt_that_is_gone_fails_the_job(desk: Desk) -> None:
    job = desk.completions("one", prompt="gone")
    report = desk.work()
    assert report is not None
    assert (report.state, "gone" in report.error) == ("failed", True)
    assert desk.items(job)[0].state == "waiting"


def test_a_revoked_keys_job_ends(desk: Desk) -> None:
    desk.completions("one")
    revoke_key(desk.engine, desk.clock, desk.key)
    report = desk.work()
    assert report is not None
    assert (report.state, "revoked" in report.error, desk.station.provider.calls) == ("failed", True, 0)


def test_a_kill_after_the_answers_and_the_ledger_has_one_row_each(desk: Desk) -> None:
    job = desk.completions("one", "two", "three")
    assert running.claim(desk.engine, desk.clock, "killed", 60) is not None
    for item in running.waiting_items(desk.engine, job, 9):  # answered and recorded, and never noted
        desk.station.run(_answer_as(desk, item))
    desk.clock.advance(60)
    desk.work("next")
    assert desk.job(job).state == "succeeded"
    assert {row.id for row in desk.calls()} == {item.call_id for item in desk.items(job)}
    assert len(desk.calls()) == 3


async def _answer_as(desk: Desk, item: JobItemRow) -> None:
    gateway = desk.station.gateway
    call = Call(
        id=call_id(item.job_id, item.seq, 0),
        tenant="acme",
        received_at=gateway.clock.now(),
        prompt="help",
        version=desk.station.version,
        variables=item.input["variables"],
    )
    await gateway.pipeline.answer(call)


def test_an_import_is_a_put(desk: Desk) -> None:
    desk.station.put("same", "It was there already.")
    job = desk.imports(("refunds", "Refunds take ten days."), ("same", "It was there already."), ("bad", " "))
    report = desk.work()
    assert report is not None
    assert (report.state, report.done, report.failed, report.cost_usd) == ("succeeded", 2, 1, 0.0)
    refunds, same, bad = desk.items(job)
    assert refunds.output is not None
    assert (refunds.output["id"], refunds.output["version"], refunds.output["changed"]) == ("refunds", 1, True)
    assert same.output is not None
    assert same.output["changed"] is False
    assert (bad.state, bad.error) == ("failed", "invalid_request")
    assert "Refunds take ten days." in desk.station.ask("How long do refunds take?").reply.text


def test_a_folder_is_imported_file_by_file(desk: Desk, tmp_path: Path) -> None:
    folder = tmp_path / "root" / "acme" / "manuals"
    folder.mkdir(parents=True)
    for name in ("a", "b"):
        (folder / f"{name}.md").write_text(f"# About {name}\n\nAll about {name}.\n")
    (folder / "c.md").write_text("no title")
    job = desk.imports(folder="manuals")
    report = desk.work(import_root=str(tmp_path / "root"))
    assert report is not None
    assert (report.state, report.total, report.done, report.failed) == ("succeeded", 3, 2, 1)
    assert [(item.input["id"], item.state) for item in desk.items(job)] == [
        ("a", "done"),
        ("b", "done"),
        ("c", "failed"),
    ]


def test_a_folder_without_a_root_fails_the_job(desk: Desk) -> None:
    desk.imports(folder="manuals")
    report = desk.work()
    assert report is not None
    assert (report.state, "switched off" in report.error) == ("failed", True)


@pytest.mark.parametrize("broken", ["a run's cancellation", "somebody's"])
def test_what_is_cancelled_meanwhile_is_not_begun(desk: Desk, broken: str) -> None:
    job = desk.completions("one")
    running.claim(desk.engine, desk.clock, "run", 60, flow_run="flow")
    ends: dict[str, Callable[[], Any]] = {
        "a run's cancellation": lambda: cancel_jobs_of(desk.station.settings, desk.clock, "flow"),
        "somebody's": lambda: store.cancel(desk.engine, desk.clock, "acme", job),
    }
    ends[broken]()
    desk.clock.advance(60)
    desk.work("next")
    assert (desk.job(job).state, desk.station.provider.calls) == ("cancelled", 0)


def test_old_jobs_are_forgotten_with_their_results(desk: Desk) -> None:
    job = desk.completions("one")
    desk.work()
    kept = desk.station.settings.job_retention
    desk.clock.advance(kept - 1)
    assert forget_old.fn(desk.station.settings, desk.clock) == 0
    assert json.dumps(desk.items(job)[0].output)
    desk.clock.advance(2)
    assert forget_old.fn(desk.station.settings, desk.clock) == 1
    assert store.page(desk.engine, "acme") == []
