"""A document as a Markdown file: its first line is ``# Title``, the rest is the text. Pure."""

from gateway.errors import InvalidRequest

ENDING = ".md"


def title_and_text(content: str) -> tuple[str, str]:
    """Raises InvalidRequest unless the first line is a title."""
    first, _, rest = content.lstrip("\ufeff\n").partition("\n")
    if not first.startswith("# ") or not first[2:].strip():
        raise InvalidRequest("the first line is not '# Title'")
    return first[2:].strip(), rest.strip()
