"""Fakes at the seams of the retrieval room."""

import asyncio
import itertools
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sqlalchemy import Engine, NullPool, create_engine

from gateway.embedding.base import Vectors
from gateway.embedding.lexical import LexicalEmbedder
from gateway.errors import ProviderUnreachable, StorageUnavailable

T, C = "acme", "help-centre"


class FakeEpochs:
    """Epochs in memory, with the promises of EpochsPort. ``down`` makes every call fail."""

    def __init__(self) -> None:
        self.down = False
        self.log: list[str] = []
        self.before_publish = asyncio.Event()
        self.before_publish.set()
        self.begun = asyncio.Event()
        self._numbers = itertools.count(1)
        self._epochs: dict[tuple[str, str], str] = {}
        self._pending: dict[tuple[str, str], set[str]] = {}

    def current(self, tenant: str, collection: str) -> str:
        if self._pending.get((tenant, collection)):
            return ""
        return self._epochs.setdefault((tenant, collection), f"e{next(self._numbers)}")

    async def begin(self, tenant: str, collection: str) -> str:
        self._answer("begin")
        self.begun.set()
        token = f"t{next(self._numbers)}"
        self._pending.setdefault((tenant, collection), set()).add(token)
        return token

    async def publish(self, tenant: str, collection: str, token: str) -> str:
        await self.before_publish.wait()
        self._answer("publish")
        self._epochs[tenant, collection] = f"e{next(self._numbers)}"
        self._pending[tenant, collection].discard(token)
        return self._epochs[tenant, collection]

    async def abandon(self, tenant: str, collection: str, token: str) -> None:
        self._answer("abandon")
        self._pending[tenant, collection].discard(token)

    def _answer(self, what: str) -> None:
        if self.down:
            raise StorageUnavailable("the epochs are out of reach")
        self.log.append(what)


class BrokenEmbedder(LexicalEmbedder):
    """An embedder that can be switched off, and counts."""

    def __init__(self) -> None:
        super().__init__()
        self.down = False
        self.texts: list[str] = []

    async def embed(self, texts: Sequence[str]) -> Vectors:
        if self.down:
            raise ProviderUnreachable("the embedding model cannot be reached")
        self.texts.extend(texts)
        return await super().embed(texts)


class OtherEmbedder:
    """Knows two directions only: texts with and without the word 'winter'."""

    name = "other-1"
    dimensions = 2

    async def embed(self, texts: Sequence[str]) -> Vectors:
        return np.array([[1, 0] if "winter" in text else [0, 1] for text in texts], dtype=np.float32).reshape(-1, 2)

    async def aclose(self) -> None:
        """Nothing is held."""


class SwitchedSql:
    """A reader's engine on a database file that can be made unreachable. ``connections`` counts the tries."""

    def __init__(self, path: Path) -> None:
        self.down = False
        self.connections = 0
        self._path = path
        self.engine: Engine = create_engine("sqlite://", creator=self._connect, poolclass=NullPool)

    def _connect(self) -> sqlite3.Connection:
        self.connections += 1
        if self.down:
            raise sqlite3.OperationalError("unable to open database file")
        return sqlite3.connect(self._path, check_same_thread=False)
