"""Prompt specs: what a prompt.yaml and its datasets say, checked before anything changes."""
