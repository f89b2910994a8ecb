"""Log lines: text for people, or a JSON object a line for machines. Neither ever holds a prompt, an answer or a key."""

import logging
from datetime import UTC, datetime

import msgspec

_encode = msgspec.json.Encoder().encode
_TALKATIVE = ("httpx", "httpx2")
"""They write a line for each request upstream."""


class JsonLines(logging.Formatter):
    """``{"at", "level", "logger", "message"}``, with ``call_id`` where the line is about a call."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name in ("call_id", "code"):
            if (value := getattr(record, name, None)) is not None:
                line[name] = str(value)
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return _encode(line).decode()


def configure(log_format: str) -> None:
    """The whole process' log, to standard error. ``log_format`` is ``text`` or ``json``."""
    handler = logging.StreamHandler()
    if log_format == "json":
        handler.setFormatter(JsonLines())
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for library in _TALKATIVE:
        logging.getLogger(library).setLevel(logging.WARNING)
