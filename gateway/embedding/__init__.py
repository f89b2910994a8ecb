"""Texts to unit vectors: the port, the built-in lexical embedder and the one behind an OpenAI-compatible endpoint."""
