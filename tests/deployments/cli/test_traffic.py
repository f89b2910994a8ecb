from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from deployments.cli.traffic_view import TrafficView, print_report, summary
from deployments.stack.errors import StackError
from deployments.traffic.plan import TrafficPlan
from deployments.traffic.report import Outcome, TrafficReport
from gateway.errors import InvalidRequest, NotFound
from tests.deployments.cli.conftest import Promptyard

KINDS = ("plain", "paraphrase", "chatty", "typo", "multi_part", "unanswerable")


def played(seconds: float = 20.0) -> TrafficReport:
    report = TrafficReport(seconds=seconds, feedback=60, feedback_failed=2)
    for number in range(240):
        version, kind = ("1.1.0" if number % 4 == 0 else "1.0.0"), KINDS[number % 6]
        layer = ("exact", "none", "coalesced")[number % 3]
        report.add(Outcome(kind, 5.0 * number, "", version, "stable", layer, "openai", number % 5 != 0, 0.001))
    for code in ("overloaded", "all_providers_failed"):
        report.add(Outcome("plain", 1.0, code))
    return report


def written(out: Console) -> str:
    assert isinstance(out.file, StringIO)
    return out.file.getvalue()


@pytest.mark.parametrize("width", [80, 120])
def test_the_report_fits_and_has_every_figure(width: int) -> None:
    out = Console(file=StringIO(), width=width)
    print_report(played(), out)
    text = written(out)
    assert all(len(line) <= width for line in text.splitlines())
    joined = " ".join(text.split())
    for figure in ("242 in 20.0 s, 12.1/s", "1 overloaded, 1 all_providers_failed", "1.1.0 60 (25 %)", "$0.2400"):
        assert figure in joined
    for figure in ("the exact cache 80 (33 %)", "60 given, 2 not taken", "80 % of 180", "multi part", "unanswerable"):
        assert figure in joined


def test_a_report_without_any_answer_can_be_shown() -> None:
    report = TrafficReport(seconds=1.0)
    report.add(Outcome("plain", 1.0, "unreachable"))
    out = Console(file=StringIO(), width=80)
    print_report(report, out)
    assert "1 unreachable" in written(out)


def test_the_line_while_it_plays() -> None:
    assert summary(played()) == "12/s  p95 1135 ms  hits 67 %  1.0.0 75 %  1.1.0 25 %  2 errors"


def test_without_a_terminal_there_is_a_line_every_five_seconds() -> None:
    out = Console(file=StringIO(), width=80)
    plan = TrafficPlan(base_url="http://x", key="k", prompt="p", requests=500)
    with TrafficView(plan, out) as view:
        for seconds in (1.0, 4.0, 5.5, 6.0, 10.4, 10.6):
            view.show(played(seconds))
    assert [line.split("  ")[0] for line in written(out).splitlines()] == ["242 of 500"] * 2


def test_without_a_gateway_the_hint_says_how_to_start_one(promptyard: Promptyard, home: Path) -> None:
    (home / "key").write_text("py_key\n")
    error = promptyard("traffic", PROMPTYARD_PORT="1").exception
    assert isinstance(error, StackError)
    assert "promptyard up" in error.hint


def test_a_prompt_without_questions_and_a_broken_pool_are_said_first(
    promptyard: Promptyard, home: Path, tmp_path: Path
) -> None:
    (home / "key").write_text("py_key\n")
    missing = promptyard("traffic", "--prompt", "nope").exception
    assert isinstance(missing, NotFound)
    assert "--pool" in missing.hint
    pool = tmp_path / "pool.jsonl"
    pool.write_text("{\n")
    broken = promptyard("traffic", "--pool", str(pool)).exception
    assert isinstance(broken, InvalidRequest)
    assert "line 1" in broken.message
