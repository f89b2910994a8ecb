"""All arms of an experiment are scored by one judge: a judge that changed between versions must not decide."""

from gateway.prompts.splits import Policy
from gateway.storage.engine import writing
from gateway.storage.models import PromptVersionRow
from tasks.experiments.weights import stop_experiment
from tasks.scoring import judge_of
from tasks.specs.model import PromptSpec
from tests.tasks.experiments.trial import Trial
from tests.tasks.releases.yard import Yard


def spec(version: str, model: str) -> PromptSpec:
    content = {
        "name": "help",
        "version": version,
        "template": [{"role": "user", "content": "Why?"}],
        "model": {"chain": ["openai/small"]},
        "gate": {"judge": {"model": model}},
    }
    return PromptSpec.model_validate(content)


def test_while_an_experiment_is_open_its_baselines_judge_scores_every_arm(small_yard: Yard) -> None:
    specs = {"1.0.0": spec("1.0.0", "openai/old"), "1.1.0": spec("1.1.0", "openai/new")}
    trial = Trial(small_yard, Policy.AB, list(specs))
    with writing(small_yard.engine) as session:
        for version, one in specs.items():
            row = session.get_one(PromptVersionRow, ("acme", "help", version))
            row.spec = one.model_dump(mode="json", by_alias=True)

    def judges() -> dict[str, str]:
        found = {version: judge_of(small_yard.engine, "acme", "help", version, one) for version, one in specs.items()}
        return {version: judge.model for version, (judge, _) in found.items()}

    assert judges() == {"1.0.0": "openai/old", "1.1.0": "openai/old"}
    stop_experiment(small_yard.engine, small_yard.clock, trial.row.id, "enough")
    assert judges() == {"1.0.0": "openai/old", "1.1.0": "openai/new"}
