"""Saying something once; the gateway says its own things in the same way."""

from gateway.storage.announcing import announce_once, announced, announcement_id

__all__ = ["announce_once", "announced", "announcement_id"]
