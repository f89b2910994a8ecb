"""Where a user's function is: in the prompt's folder, and nowhere else. It is found by reading, not by running."""

import ast
import re
from pathlib import Path

_REFERENCE = re.compile(r"(?P<file>[A-Za-z0-9_][A-Za-z0-9_./-]*\.py):(?P<name>[A-Za-z_]\w*)")


class FunctionError(ValueError):
    """``file.py:function`` cannot be used."""


def find_function(folder: Path, reference: str) -> tuple[Path, str]:
    """File and name of ``file.py:function`` in the folder. Raises FunctionError; runs nothing of the file."""
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise FunctionError(f"{reference!r} is not 'file.py:function'")
    home = folder.resolve()
    path = (home / match["file"]).resolve()
    if not path.is_relative_to(home):
        raise FunctionError(f"{match['file']!r} is not in the prompt's folder")
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FunctionError(f"there is no {match['file']!r} beside the spec") from None
    except (OSError, UnicodeDecodeError, SyntaxError, ValueError) as error:
        raise FunctionError(f"{match['file']!r} cannot be read: {error}") from None
    if not any(isinstance(node, ast.FunctionDef) and node.name == match["name"] for node in tree.body):
        raise FunctionError(f"{match['file']!r} has no function {match['name']!r}")
    return path, match["name"]
