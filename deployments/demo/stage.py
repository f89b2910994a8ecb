"""What the story is played on: a stack in a temporary home, and the few things that the story does to it."""

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import yaml

from deployments.demo.background import BackgroundTraffic
from deployments.stack.home import StackHome
from deployments.stack.lifecycle import start_detached, stop_stack
from deployments.stack.state import StackState, apply_environment
from deployments.traffic.plan import TrafficPlan

PROMPT = "help-centre"
SALT = "demo"
SEED = 7
CONTENT = Path(__file__).resolve().parent.parent / "prompts" / PROMPT
# Short enough to watch: a user's answers are collected for 3 s, and scores may take 15 s more.
CANARY = {
    "steps": [20, 50],
    "margin": 0.10,
    "window": "3s",
    "scoring_grace": "15s",
    "min_step": "2s",
    "min_blocks": 8,
    "max_duration": "10m",
}


class StoryBroken(Exception):
    """A step of the story did not happen."""


def expect(happened: bool, otherwise: str) -> None:
    """Raises StoryBroken unless it happened."""
    if not happened:
        raise StoryBroken(otherwise)


@dataclass(frozen=True)
class Said:
    """An answer as the application sees it."""

    text: str
    facts: Mapping[str, Any]

    @property
    def layer(self) -> str:
        return str(self.facts["cache"]["layer"])

    @property
    def provider(self) -> str:
        return str(self.facts["provider"])


class Stage:
    """A running stack. Make it with ``raise_curtain``; ``lower_curtain`` leaves nothing running."""

    def __init__(self, home: StackHome, state: StackState) -> None:
        self.home = home
        self.state = state
        self.urls = state.urls
        self._key = home.key_file.read_text().strip()
        self._http = httpx.Client(
            base_url=self.urls["gateway"], headers={"Authorization": f"Bearer {self._key}"}, timeout=30.0
        )
        self._specs = home.root / "prompts"
        self._specs.mkdir(exist_ok=True)

    # --- documents and questions -----------------------------------------------------------------------------

    def put_documents(self) -> int:
        """Every article of the help centre, through the API."""
        paths = sorted((CONTENT / "documents").glob("*.md"))
        for path in paths:
            title, _, text = path.read_text(encoding="utf-8").partition("\n")
            self.put_document(path.stem, title.removeprefix("# "), text.strip())
        return len(paths)

    def put_document(self, name: str, title: str, text: str) -> Mapping[str, Any]:
        answer = self._http.put(f"/v1/documents/{PROMPT}/{name}", json={"title": title, "text": text})
        answer.raise_for_status()
        return dict(answer.json())

    def get_document(self, name: str) -> Mapping[str, Any]:
        answer = self._http.get(f"/v1/documents/{PROMPT}/{name}")
        answer.raise_for_status()
        return dict(answer.json())

    def ask(self, question: str, user: str = "") -> Said:
        """One live question, as an application asks it."""
        body: dict[str, Any] = {"model": f"prompt:{PROMPT}", "messages": [], "variables": {"question": question}}
        answer = self._http.post("/v1/chat/completions", json=body | ({"user": user} if user else {}))
        expect(answer.status_code == 200, f"the gateway answered {answer.status_code}: {answer.text[:300]}")
        content = answer.json()
        return Said(content["choices"][0]["message"]["content"], content["promptyard"])

    def active(self) -> Mapping[str, Any]:
        """What serves, for whom."""
        answer = self._http.get(f"/v1/prompts/{PROMPT}")
        return dict(answer.json()) if answer.status_code == 200 else {}

    # --- providers -------------------------------------------------------------------------------------------

    def break_provider(self, provider: str) -> None:
        """The simulator's outage of one provider."""
        rule = {"scope": {"provider": provider}, "outage": True}
        httpx.put(f"{self.urls['simulator']}/admin/faults", json=[rule], timeout=10).raise_for_status()

    def mend_providers(self) -> None:
        httpx.delete(f"{self.urls['simulator']}/admin/faults", timeout=10).raise_for_status()

    # --- releases --------------------------------------------------------------------------------------------

    def spec(self, version: str) -> Path:
        """The spec of a version with the demo's short canary on top."""
        base = CONTENT / ("prompt.yaml" if version == "1.0.0" else f"story/{version}.yaml")
        path = self._specs / f"{version}.yaml"
        path.write_text(yaml.safe_dump({"extends": str(base), "canary": CANARY}), encoding="utf-8")
        return path

    def traffic(self, name: str, rate: float) -> BackgroundTraffic:
        """Users who ask questions until somebody stops them."""
        return BackgroundTraffic(
            TrafficPlan(
                base_url=self.urls["gateway"],
                key=self._key,
                prompt=PROMPT,
                requests=100_000,
                users=5_000,
                workers=8,
                seed=SEED,
                rate=rate,
                feedback_share=0.3,
                user_prefix=f"{name}-",
            )
        )

    # --- Prefect ---------------------------------------------------------------------------------------------

    @contextmanager
    def without_schedules(self, *names: str) -> Iterator[None]:
        """The story reconciles every two seconds itself; a run a minute beside it would only cost time.

        They go on afterwards: with ``--keep`` somebody may release something.
        """
        deployments = [self._deployment(name) for name in names]
        try:
            for deployment in deployments:
                self._schedule(deployment, "pause")
            yield
        finally:
            for deployment in deployments:
                self._schedule(deployment, "resume")

    def _schedule(self, deployment: str, what: str) -> None:
        httpx.post(f"{self._api}/deployments/{deployment}/{what}_deployment", timeout=30).raise_for_status()

    def wait_for_run(self, deployment: str, since: datetime, patience: float) -> Mapping[str, Any]:
        """The first finished run of a deployment that an event or a schedule created after ``since``."""
        wanted = self._deployment(deployment)
        query = {
            "deployments": {"id": {"any_": [wanted]}},
            "flow_runs": {
                "state": {"type": {"any_": ["COMPLETED", "FAILED", "CRASHED"]}},
                "expected_start_time": {"after_": since.isoformat()},
            },
            "limit": 1,
        }
        return self._until(lambda: self._first_run(query), patience, f"no run of {deployment!r} finished")

    def _first_run(self, query: Mapping[str, Any]) -> Mapping[str, Any] | None:
        try:
            answer = httpx.post(f"{self._api}/flow_runs/filter", json=query, timeout=10)
        except httpx.HTTPError:
            return None  # a server that is busy with runs may keep one look waiting: the next one tells
        found = answer.json() if answer.status_code == 200 else []
        return found[0] if found else None

    def _deployment(self, name: str) -> str:
        answer = httpx.post(
            f"{self._api}/deployments/filter", json={"deployments": {"name": {"any_": [name]}}}, timeout=30
        )
        answer.raise_for_status()
        found = answer.json()
        expect(bool(found), f"Prefect has no deployment named {name!r}")
        return str(found[0]["id"])

    @property
    def _api(self) -> str:
        return os.environ["PREFECT_API_URL"]

    @staticmethod
    def _until(look: Callable[[], Mapping[str, Any] | None], patience: float, otherwise: str) -> Mapping[str, Any]:
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            if (found := look()) is not None:
                return found
            time.sleep(0.5)
        raise StoryBroken(f"{otherwise} within {patience:g} s")

    def close(self) -> None:
        self._http.close()


def raise_curtain(watch: Callable[..., None], home: Path | None = None) -> Stage:
    """Start a stack in a temporary home of its own, with the simulator whatever keys are set."""
    root = home or Path(tempfile.mkdtemp(prefix="promptyard-demo-"))
    for name in [name for name in os.environ if name.startswith("PROMPTYARD_") and name != "PROMPTYARD_TENANT"]:
        del os.environ[name]  # the demo is its own world: nothing of a team's real stack is touched
    for name in ("PREFECT_API_URL", "PREFECT_HOME", "MLFLOW_TRACKING_URI"):
        os.environ.pop(name, None)
    os.environ["PROMPTYARD_HOME"] = str(root)
    stack = StackHome.at(root)
    stack.prepare()
    state = start_detached(stack, ["-m", "deployments.stack.daemon", "--simulator"], watch)
    apply_environment(state)
    return Stage(stack, state)


def lower_curtain(home: StackHome, watch: Callable[..., None]) -> None:
    """Stop everything of this home."""
    stop_stack(home, watch)
