"""``promptyard register``: what is wrong is told before anything runs."""

from pathlib import Path

from sqlalchemy import Engine, func, select

from deployments.cli.release import InvalidSpec
from deployments.stack.errors import StackError
from gateway.storage.engine import reading
from gateway.storage.models import PromptVersionRow
from tests.deployments.cli.conftest import Promptyard
from tests.deployments.cli.test_release import SPEC, prompt

__all__ = ["prompt"]


def test_a_wrong_file_is_told_line_by_line(promptyard: Promptyard, prompt: Path, ledger: Engine) -> None:
    (prompt / "prompt.yaml").write_text(SPEC.replace("{question: {}}", "{}"))
    error = promptyard("register", str(prompt)).exception
    assert isinstance(error, InvalidSpec)
    assert "question" in error.message
    with reading(ledger) as session:
        assert session.scalar(select(func.count()).select_from(PromptVersionRow)) == 0


def test_without_a_stack_it_says_what_starts_one(promptyard: Promptyard, prompt: Path) -> None:
    error = promptyard("register", str(prompt)).exception
    assert isinstance(error, StackError)
    assert "'promptyard up' starts one" in error.hint
