"""What may be in the process' log, and what may not."""

import json
import logging
from collections.abc import Iterator

import pytest

from gateway import logs


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for library in ("httpx", "httpx2"):
        logging.getLogger(library).setLevel(logging.NOTSET)


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_requests_upstream_are_no_lines_of_the_log(capsys: pytest.CaptureFixture[str], log_format: str) -> None:
    logs.configure(log_format)
    for library in ("httpx", "httpx2"):
        logging.getLogger(library).info("HTTP Request: POST http://provider/v1")
    logging.getLogger("gateway.test").info("a call failed")
    said = capsys.readouterr().err
    assert "a call failed" in said
    assert "HTTP Request" not in said


def test_machines_read_an_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("json")
    logging.getLogger("gateway.test").warning("a call failed", extra={"call_id": "call_1"})
    line = json.loads(capsys.readouterr().err)
    assert (line["level"], line["message"], line["call_id"]) == ("warning", "a call failed", "call_1")
