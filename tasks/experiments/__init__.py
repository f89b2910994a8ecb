"""Experiments: A/B tests and bandits over versions of a prompt."""
