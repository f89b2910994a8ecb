"""``--since``: how far back a command looks."""

from gateway.errors import InvalidRequest


def window(text: str) -> float:
    """Seconds of ``90m``, ``24h``, ``7d`` or a plain number of seconds. Raises InvalidRequest."""
    from tasks.specs.model import seconds

    try:
        found = float(seconds(text))
    except (TypeError, ValueError):
        found = 0.0
    if not 60 <= found <= 400 * 86_400:
        raise InvalidRequest(f"{text!r} is no time to look back", hint="Such as --since 24h or --since 7d.")
    return found
