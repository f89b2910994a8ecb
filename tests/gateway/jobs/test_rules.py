import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import InvalidRequest
from gateway.jobs.rules import (
    MAX_AGE,
    OPEN,
    JobState,
    after_cancel,
    after_work,
    call_id,
    check_storable,
    folder_segments,
    progress,
    storable,
)

Q, R, C = JobState.QUEUED, JobState.RUNNING, JobState.CANCELLING
S, F, X = JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED


@pytest.mark.parametrize(
    ("state", "worked_on", "then"),
    [(Q, False, X), (R, True, C), (R, False, X), (C, True, C), (C, False, X)]
    + [(ended, worked_on, ended) for ended in (S, F, X) for worked_on in (True, False)],
)
def test_cancelling(state: JobState, worked_on: bool, then: JobState) -> None:
    assert after_cancel(state, worked_on) is then
    assert after_cancel(then, worked_on) is then, "a second time changes nothing"


@pytest.mark.parametrize(
    ("state", "total", "done", "failed", "age", "then"),
    [
        (R, 3, 3, 0, 1, S),
        (R, 3, 1, 2, 1, S),
        (R, 3, 0, 3, 1, F),
        (R, 3, 2, 0, 1, R),
        (R, 0, 0, 0, 1, F),
        (R, 3, 2, 0, MAX_AGE + 1, F),
        (R, 3, 3, 0, MAX_AGE + 1, S),
        (C, 3, 3, 0, 1, X),
        (C, 3, 1, 0, 1, X),
        (X, 3, 3, 0, 1, X),
    ],
)
def test_letting_go(state: JobState, total: int, done: int, failed: int, age: float, then: JobState) -> None:
    found, why = after_work(state, total=total, done=done, failed=failed, age=age)
    assert found is then
    assert bool(why) is (then is F)


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50))
def test_progress_is_a_share(done: int, failed: int, waiting: int) -> None:
    share = progress(done + failed + waiting, done, failed)
    assert 0 <= share <= 1
    assert (share == 1) is (waiting == 0 and done + failed > 0)


JOB = "job_01jd3v5k8m2q4r6t8w0y2a4c6e"


def test_a_call_id_is_fixed_has_the_form_of_all_and_differs_by_item_and_attempt() -> None:
    ids = [call_id(JOB, seq, attempt) for seq in range(50) for attempt in range(3)]
    assert len(set(ids)) == 150
    assert call_id(JOB, 7, 1) == call_id(JOB, 7, 1)
    assert all(re.fullmatch(r"call_01jd3v5k8m[0-9a-z]{16}", one) for one in ids)
    assert call_id(JOB[:-1] + "f", 0, 0) not in ids


@pytest.mark.parametrize("folder", ["manuals", "manuals/2026", "a.b/c_d/e-f"])
def test_folders_below_the_root(folder: str) -> None:
    assert "/".join(folder_segments(folder)) == folder


@pytest.mark.parametrize(
    "folder",
    ["", "/", "/etc", "..", "a/../..", "a//b", "a/", ".", "a/./b", "~/x", "a\\b", "a\0b", "x/" * 10 + "x", "ä"],
)
def test_folders_that_could_lead_elsewhere(folder: str) -> None:
    with pytest.raises(InvalidRequest, match="relative path"):
        folder_segments(folder)


def test_what_sql_cannot_hold_is_replaced_or_refused() -> None:
    assert storable({"a\0": ["\ud800x", 1, None, ("\0",)]}) == {"a\ufffd": ["\ufffdx", 1, None, ["\ufffd"]]}
    check_storable({"a": ["b", {"c": 1}]}, "items")
    for bad in ("\0", ["\0"], {"a": {"\0": 1}}, {"a": ("\0",)}):
        with pytest.raises(InvalidRequest, match=r"^items"):
            check_storable(bad, "items")


def test_open_states_are_those_that_end() -> None:
    assert set(OPEN) == set(JobState) - {S, F, X}
