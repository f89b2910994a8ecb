"""Texts to unit vectors: the port, the built-in lexical embedder, and models of OpenAI-compatible servers.

Composites implement the port: ``MicroBatcher`` asks once for many callers, ``Resilient`` tries again within bounds.
"""
