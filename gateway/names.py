"""What tenants, collections and documents may be called: one rule for all rooms."""

import re

from gateway.errors import InvalidRequest

HINT = "Use 1 to 120 of A-Z a-z 0-9 . _ - and not dots alone."

_NAME = re.compile(r"[A-Za-z0-9._-]{1,120}")


def check_name(what: str, name: str) -> None:
    """Raises InvalidRequest unless ``name`` may name a tenant, a collection or a document.

    Names become parts of URLs, cache keys, event resources and citations: none of these quotes anything.
    """
    if not _NAME.fullmatch(name) or not name.strip("."):
        raise InvalidRequest(f"{_shown(name)} cannot be the name of a {what}", hint=HINT)


def _shown(name: str) -> str:
    return ascii(name if len(name) <= 60 else f"{name[:57]}...")
