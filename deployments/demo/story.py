"""The story: what happens to a prompt in its life, each step checked. Reads from top to bottom."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from deployments.demo.stage import PROMPT, SALT, Stage, StoryBroken, expect

if TYPE_CHECKING:
    from tasks.releasing import Release

RECONCILE_EVERY = 2.0
RELEASE_PATIENCE = 240.0
TRAFFIC_RATE = 14.0
DOCUMENT = "free-trial"
QUESTION = "How long is the free trial?"
BEFORE, AFTER = "30 days", "45 days"


@dataclass
class Event:
    """One line of the table at the end."""

    title: str
    outcome: str
    seconds: float


@dataclass
class Playbill:
    """What has happened so far, and the links to look at."""

    events: list[Event] = field(default_factory=list)
    links: dict[str, str] = field(default_factory=dict)


Tell = Callable[[str], None]


class Story:
    """Plays the steps on a stage; ``tell`` gets a line as each step goes on."""

    def __init__(self, stage: Stage, tell: Tell) -> None:
        self.stage = stage
        self.tell = tell
        self.playbill = Playbill()
        self._begun = time.monotonic()

    def play(self) -> Playbill:
        """Everything in order. Raises StoryBroken at the first step that does not happen."""
        with self.stage.without_schedules("score", "advance"):
            self.documents_arrive()
            self.first_version_goes_live()
            with self.stage.traffic("visitor", TRAFFIC_RATE):
                self.a_better_version_is_promoted()
                self.an_inventing_version_is_refused()
                self.a_harmful_version_is_rolled_back()
            self.a_document_changes()
            self.a_provider_goes_down()
            self.the_reports_are_written()
        return self.playbill

    # --- the steps -------------------------------------------------------------------------------------------

    def documents_arrive(self) -> None:
        with self._step("The help centre's articles arrive") as say:
            say(f"{self.stage.put_documents()} articles, ready to ground answers")

    def first_version_goes_live(self) -> None:
        with self._step("1.0.0 is the first version") as say:
            release = self._release("1.0.0")
            expect(release.stage == "promoted", f"1.0.0 should be live, but: {release.stage}: {release.reason}")
            said = self.stage.ask(QUESTION)
            expect(BEFORE in said.text, f"the first answer should say {BEFORE!r}, but: {said.text}")
            expect(self.stage.ask(QUESTION).layer == "exact", "the second answer should come from the cache")
            say("registered, gated on absolute floors, live for everybody")

    def a_better_version_is_promoted(self) -> None:
        with self._step("1.1.0 cites its sources") as say:
            release = self._release("1.1.0")
            expect(release.stage == "canary", f"1.1.0 should pass the gate, but: {release.stage}: {release.reason}")
            self.tell("the gate passed: live users now decide")
            end = self._reconcile_until_closed("1.1.0")
            expect(end.stage == "promoted", f"1.1.0 should be promoted, but: {end.stage}: {end.reason}")
            expect(self.stage.active()["stable"] == "1.1.0", "the gateway should serve 1.1.0 to everybody")
            say("passed the gate, shown not to be worse on live traffic, promoted and warmed")

    def an_inventing_version_is_refused(self) -> None:
        with self._step("1.2.0 invents when it does not know") as say:
            release = self._release("1.2.0")
            expect(release.stage == "refused", f"the gate should stop 1.2.0, but: {release.stage}: {release.reason}")
            expect(self.stage.active()["stable"] == "1.1.0", "no traffic should have moved")
            say("stopped by the gate: " + release.reason.split(";")[0])

    def a_harmful_version_is_rolled_back(self) -> None:
        with self._step("1.3.0 fails on what only live users ask") as say:
            release = self._release("1.3.0")
            expect(release.stage == "canary", f"1.3.0 should pass the gate, but: {release.stage}: {release.reason}")
            self.tell("the gate passed: its golden set has no such question")
            end = self._reconcile_until_closed("1.3.0")
            expect(end.stage == "rolled_back", f"1.3.0 should be rolled back, but: {end.stage}: {end.reason}")
            active = self.stage.active()
            expect(active["stable"] == "1.1.0" and active["release"] is None, "everybody should be back on 1.1.0")
            say("rolled back by the canary: " + end.reason.split(";")[0])

    def a_document_changes(self) -> None:
        with self._step("An article changes") as say:
            self.stage.ask(QUESTION)
            expect(self.stage.ask(QUESTION).layer == "exact", "the old answer should be in the cache")
            state = self.stage.get_document(DOCUMENT)
            text = re.sub(re.escape(BEFORE), AFTER, state["text"])
            expect(text != state["text"], f"the article should say {BEFORE!r}")
            changed_at = datetime.now(UTC)
            self.stage.put_document(DOCUMENT, state["title"], text)
            said = self.stage.ask(QUESTION)
            expect(AFTER in said.text, f"the very next answer should say {AFTER!r}, but: {said.text}")
            self.tell(f"the very next answer says {AFTER}; Prefect's event is on its way")
            run = self.stage.wait_for_run("documents", changed_at, patience=180.0)
            expect(run["state_type"] == "COMPLETED", f"update_documents ended as {run['state_type']}")
            self.playbill.links["Refresh after the change"] = self._run_link(run["id"])
            say("the very next answer was the new one; the event refreshed and warmed what was lost")

    def a_provider_goes_down(self) -> None:
        with self._step("The first provider goes down") as say:
            self.stage.break_provider("openai")
            try:
                said = [self.stage.ask(question, user="visitor-outage") for question in _UNUSUAL]
            finally:
                self.stage.mend_providers()
            expect(all(one.provider == "anthropic" for one in said), "Anthropic should have answered")
            say(f"{len(said)} of {len(said)} answers came from the next provider of the chain")

    def the_reports_are_written(self) -> None:
        with self._step("Costs and drift") as say:
            from flows.monitor_costs import monitor_costs
            from flows.monitor_drift import DriftRequest, monitor_drift

            costs = monitor_costs()
            total = costs.total
            if total is None:
                raise StoryBroken("there should be costs to report")
            half = (time.monotonic() - self._begun) / 2 / 3600
            drifts = monitor_drift(DriftRequest(hours=half, reference_hours=half, min_rows=30, regate=False))
            expect(bool(drifts) and drifts[0].outcome in ("drift", "steady"), f"no drift report: {drifts}")
            money = f"${total.cost_usd:.4f} spent, ${total.saved_usd:.4f} saved by the cache"
            say(f"{money}; drift of the questions: {drifts[0].outcome}")

    # --- what the steps share --------------------------------------------------------------------------------

    def _release(self, version: str) -> "Release":
        from flows.release_prompt import ReleaseRequest, release_prompt

        return release_prompt(ReleaseRequest(path=self.stage.spec(version), author="demo", salt=SALT))

    def _reconcile_until_closed(self, version: str) -> "Release":
        """What the schedules do every minute, every two seconds: score the new answers, take one step."""
        from flows.advance_canaries import advance_canaries
        from flows.score_calls import ScoreRequest, score_calls

        deadline = time.monotonic() + RELEASE_PATIENCE
        share = 0.0
        while time.monotonic() < deadline:
            begun = time.monotonic()
            score_calls(ScoreRequest(minutes=2.0, limit=400))
            for release in advance_canaries():
                if release.prompt != PROMPT or release.version != version:
                    continue
                if release.stage != "canary":
                    return release
                if release.weight_percent != share:
                    share = release.weight_percent
                    self.tell(f"{share:g} % of the users see {version}")
            time.sleep(max(0.0, RECONCILE_EVERY - (time.monotonic() - begun)))
        raise StoryBroken(f"the canary of {version} came to no decision within {RELEASE_PATIENCE:g} s")

    def _run_link(self, run_id: str) -> str:
        return f"{self.stage.urls['prefect']}/runs/flow-run/{run_id}"

    @contextmanager
    def _step(self, title: str) -> Iterator[Tell]:
        outcome: list[str] = []
        begun = time.monotonic()
        self.tell(f"# {title}")
        yield outcome.append
        event = Event(title, outcome[-1], time.monotonic() - begun)
        self.playbill.events.append(event)
        self.tell(f"✓ {event.outcome}")


_UNUSUAL = (
    "Which plan would suit a florist with two fridges?",
    "Could somebody tell me how I put a sensor into a freezer?",
    "What is the longest that my readings are stored?",
)
