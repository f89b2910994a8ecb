"""Conversations that the gateway holds for its callers."""
