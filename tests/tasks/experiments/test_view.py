"""What people and machines see of an experiment."""

import json
from decimal import Decimal

import pytest

from gateway.prompts.splits import MAX_TRAIT, Policy
from tasks.experiments.business import worth
from tasks.experiments.plots import overview
from tasks.experiments.view import arm_rows, as_plain, headline, segment_rows
from tasks.experiments.weights import found_now
from tasks.specs.model import ValueSpec
from tests.tasks.experiments.trial import Trial, by_version
from tests.tasks.releases.yard import Yard

PNG = b"\x89PNG\r\n"


def opposed(version: str, segment: str) -> float:
    return 0.8 if (version == "1.1.0") == (segment == "plan=pro") else 0.5


def test_a_contextual_bandit_in_rows_json_and_a_picture(small_yard: Yard) -> None:
    trial = Trial(small_yard, Policy.CONTEXTUAL, ["1.0.0", "1.1.0"], options={"context_keys": ("plan",)})
    trial.play(5, 60, opposed, traits=[{"plan": "pro"}, {"plan": "free"}])
    found = found_now(small_yard.engine, small_yard.clock, trial.row.id)
    assert headline(found) == "help: contextual of 1.0.0 (baseline), 1.1.0; open, epoch 5; 300 outcomes"
    assert [row["beside the baseline"].partition(":")[0] for row in arm_rows(found)] == ["baseline", "not yet"]
    rows = {row["segment"]: row for row in segment_rows(found)}
    assert rows["plan=pro"]["1.1.0 share"] == "95 %"
    assert rows["plan=pro"]["1.1.0 posterior"] > rows["plan=pro"]["1.0.0 posterior"]
    plain = json.loads(json.dumps(as_plain(found)))
    assert plain["segments"]["plan=free"] == {"1.0.0": 0.95, "1.1.0": 0.05}
    assert set(plain["arms"][1]["beside_baseline"]["by_segment"]) == {"plan=pro", "plan=free"}
    assert sum(arm["outcomes"] for arm in plain["arms"]) == plain["outcomes"] == 300
    assert overview(found).startswith(PNG)


def test_an_experiment_that_nobody_came_to_yet_can_be_shown(small_yard: Yard) -> None:
    trial = Trial(small_yard, Policy.AB, ["1.0.0", "1.1.0"], shares=[70, 30])
    found = found_now(small_yard.engine, small_yard.clock, trial.row.id)
    assert arm_rows(found)[1]["mean"] is None
    assert json.loads(json.dumps(as_plain(found)))["arms"][1]["share"] == 0.3
    assert overview(found).startswith(PNG)


def test_an_arm_is_worth_what_the_declared_values_say(small_yard: Yard) -> None:
    """Resolved from 0.7 on: nearly all of 1.1.0, hardly any of 1.0.0; ten dollars each, a cent a call."""
    trial = Trial(small_yard, Policy.AB, ["1.0.0", "1.1.0"])
    means = by_version({"1.0.0": 0.3, "1.1.0": 0.95})
    trial.play(1, 60, means, cost_usd=Decimal("0.01"))
    found = found_now(small_yard.engine, small_yard.clock, trial.row.id)
    spec = ValueSpec(resolved=10.0, resolved_from=0.7)
    (one,) = worth(found.shown, found.look, spec, experiment_id="e")
    assert one["version"] == "1.1.0"
    assert one["per_1000_calls"]["mean"] == pytest.approx(10_000 - 10, rel=0.05)
    assert one["gain_per_1000_calls"]["lower"] > 8_000
    assert one["probability_of_loss"] < 0.01
    assert worth(found.shown, found.look, spec, experiment_id="e") == [one]


@pytest.mark.parametrize("plan", ["$\\frac$", "$ 1 to $ 2", "\\"])
def test_a_picture_takes_what_callers_say_as_it_stands(small_yard: Yard, plan: str) -> None:
    trial = Trial(small_yard, Policy.CONTEXTUAL, ["1.0.0", "1.1.0"], options={"context_keys": ("plan",)})
    trial.play(1, 60, opposed, traits=[{"plan": plan}, {"plan": "free"}])
    assert overview(found_now(small_yard.engine, small_yard.clock, trial.row.id)).startswith(PNG)


@pytest.mark.filterwarnings("error:constrained_layout:UserWarning")
def test_a_picture_has_room_beside_long_names(small_yard: Yard) -> None:
    keys = ("plan", "language", "team")
    trial = Trial(small_yard, Policy.CONTEXTUAL, ["1.0.0", "1.1.0"], options={"context_keys": keys})
    trial.play(1, 60, opposed, traits=[dict.fromkeys(keys, "%" * MAX_TRAIT), {"plan": "free"}])
    assert overview(found_now(small_yard.engine, small_yard.clock, trial.row.id)).startswith(PNG)
