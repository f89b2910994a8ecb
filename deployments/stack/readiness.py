"""Asking a service whether it is ready. Every question is bounded by a time-out."""

import socket
import urllib.error
import urllib.request
from pathlib import Path

from deployments.stack.service import Exits, Http, LogLine, Ready, Steady, Tcp

TIMEOUT = 1.0
"""Seconds one question may take."""


def is_ready(check: Ready, *, log: Path, log_offset: int, running_for: float) -> bool:
    """Whether the check holds now. ``log_offset`` is where the log of this start begins, in bytes."""
    match check:
        case Http(url=url):
            return _answers(url)
        case Tcp():
            return _accepts(check)
        case LogLine(text=text):
            return text in read_log(log, log_offset)
        case Steady(seconds=seconds):
            return running_for >= seconds
        case Exits():
            return False  # only its exit status says so


def read_log(log: Path, offset: int, limit: int = 256_000) -> str:
    """The log from ``offset`` on, at most its last ``limit`` bytes; empty when there is none."""
    try:
        with log.open("rb") as file:
            end = file.seek(0, 2)
            file.seek(max(offset, end - limit))
            return file.read(limit).decode("utf-8", "replace")
    except OSError:
        return ""


def log_tail(log: Path, offset: int, lines: int = 20) -> str:
    """The last lines that a service wrote since it was started."""
    return "\n".join(read_log(log, offset, 32_000).rstrip().splitlines()[-lines:])


_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy knows nothing of our loopback


def _answers(url: str) -> bool:
    try:
        with _direct.open(url, timeout=TIMEOUT) as response:
            return bool(200 <= response.status < 300)
    except (OSError, ValueError, urllib.error.URLError):
        return False


def _accepts(check: Tcp) -> bool:
    try:
        with socket.create_connection((check.host, check.port), timeout=TIMEOUT) as connection:
            if check.say:
                connection.sendall(check.say)
            return not check.expect or connection.recv(256).startswith(check.expect)
    except OSError:
        return False
