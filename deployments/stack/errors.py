"""What can go wrong with the stack itself."""

from gateway.errors import PromptyardError


class StackError(PromptyardError):
    """The stack could not be started or stopped; ``hint`` says what to do next."""

    code = "stack_error"
    default_hint = "Read the log that is named above, then try 'promptyard up' again."


class AlreadyRunning(StackError):
    """Another supervisor holds the home."""

    code = "already_running"
    default_hint = "'promptyard status' shows it, 'promptyard down' stops it."
