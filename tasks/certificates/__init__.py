"""The record of a finished release: what was promised, what was seen, what was decided, and its replay."""
