"""Importing much at once."""

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Imports within it are not interrupted by garbage collections, nor is what they make ever looked at by later ones.

    It is there to stay, and collections that go through all of it take up to a third of a short process's time.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()  # or the first collection afterwards would go through all of it at once
        if was_on:
            gc.enable()
