"""Real questions with a known truth, and their vectors: what the semantic layer's quality is measured on."""

import asyncio
import csv
import hashlib
import json
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from gateway.embedding.base import Embedder, Vectors
from gateway.embedding.local_model import load_local_embedder

_SHARED = Path(__file__).resolve().parents[3] / "shared"
DATA = Path(os.environ.get("PROMPTYARD_DATA") or _SHARED / "data")
MODEL = os.environ.get("PROMPTYARD_EMBEDDING_LOCAL_MODEL") or "sentence-transformers/all-MiniLM-L6-v2"
FOLDER = Path(os.environ.get("PROMPTYARD_EMBEDDING_FOLDER") or _SHARED / "models" / "all-MiniLM-L6-v2-int8")
_PIECE = 256
_SEED = 64


@dataclass(frozen=True, eq=False)
class Questions:
    """Texts, the answer that each needs (questions of one intent share one), and vectors of shape (n, dimensions).

    ``fingerprints`` are those of the kept answers' wordings.
    """

    texts: tuple[str, ...]
    answers: tuple[int, ...]
    vectors: Vectors
    fingerprints: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, places: Sequence[int]) -> "Questions":
        return Questions(
            tuple(self.texts[place] for place in places),
            tuple(self.answers[place] for place in places),
            self.vectors[list(places)],
            tuple(self.fingerprints[place] for place in places),
        )

    def reworded(self, bits: int = 5) -> "Questions":
        """Each answer in words of its own: fingerprints of equal answers differ in some ``2 * bits`` of 64."""
        entropy = random.Random(_SEED)
        turned = [sum(1 << bit for bit in entropy.sample(range(64), bits)) for _ in self.texts]
        prints = tuple(one ^ other for one, other in zip(self.fingerprints, turned, strict=True))
        return replace(self, fingerprints=prints)


@dataclass(frozen=True, eq=False)
class Material:
    """``train`` and ``test`` are questions of the same intents; ``near_misses`` by the kind of their edit."""

    train: Questions
    test: Questions
    near_misses: tuple[tuple[str, str, str], ...]
    near_miss_similarity: tuple[float, ...]
    near_missed: Questions
    """The near misses with the answer that none of them must get: that of the question it was made from, 0: unknown."""
    originals: Questions
    paraphrases: Questions
    embedder: str


def why_not() -> str:
    """Empty, or why nothing can be measured here."""
    for path in (_banking("train"), _banking("test"), _near_misses(), _paraphrases()):
        if not path.is_file():
            return f"{path} is not there: set PROMPTYARD_DATA"
    return "" if FOLDER.is_dir() else f"there is no model in {FOLDER}: set PROMPTYARD_EMBEDDING_FOLDER"


def load() -> Material:
    """Embeds some 18,000 texts: a quarter of a minute on a quiet machine. Raises ``ValueError`` without fastembed."""
    return asyncio.run(_load(load_local_embedder(MODEL, FOLDER)))


def answer_of(intent: str) -> int:
    """The fingerprint of the one answer that all questions of an intent have."""
    return int.from_bytes(hashlib.blake2b(intent.encode(), digest_size=8).digest(), "big")


async def _load(embedder: Embedder) -> Material:
    with _near_misses().open(encoding="utf-8", newline="") as opened:
        misses = [(row["near_miss"], row["query"], row["edit"]) for row in csv.DictReader(opened)]
    pairs = json.loads(_paraphrases().read_text(encoding="utf-8"))
    asked = await _embed(embedder, [miss[0] for miss in misses])
    kept = await _embed(embedder, [miss[1] for miss in misses])
    intents = [pair["origin"].strip().casefold() for pair in pairs]
    train = await _labelled(embedder, _banking("train"))
    known = dict(zip(train.texts, train.answers, strict=True))
    forbidden = tuple(known.get(miss[1], 0) for miss in misses)
    material = Material(
        train=train,
        test=await _labelled(embedder, _banking("test")),
        near_misses=tuple(misses),
        near_miss_similarity=tuple(float(one) for one in (asked * kept).sum(axis=1)),
        near_missed=Questions(tuple(miss[0] for miss in misses), forbidden, asked, forbidden),
        originals=await _questions(embedder, [pair["origin"] for pair in pairs], intents),
        paraphrases=await _questions(embedder, [pair["similar"] for pair in pairs], intents),
        embedder=embedder.name,
    )
    await embedder.aclose()
    return material


async def _labelled(embedder: Embedder, path: Path) -> Questions:
    with path.open(encoding="utf-8", newline="") as opened:
        rows = list(csv.DictReader(opened))
    return await _questions(embedder, [row["text"] for row in rows], [row["category"] for row in rows])


async def _questions(embedder: Embedder, texts: Sequence[str], intents: Sequence[str]) -> Questions:
    answers = tuple(map(answer_of, intents))
    return Questions(tuple(texts), answers, await _embed(embedder, texts), answers)


async def _embed(embedder: Embedder, texts: Sequence[str]) -> Vectors:
    pieces = [texts[start : start + _PIECE] for start in range(0, len(texts), _PIECE)]
    return np.concatenate(await asyncio.gather(*(embedder.embed(piece) for piece in pieces)))


def _banking(part: str) -> Path:
    return DATA / "banking77" / f"{part}.csv"


def _near_misses() -> Path:
    return DATA / "near_miss" / "near_miss_banking77.csv"


def _paraphrases() -> Path:
    return DATA / "gptcache_mock" / "mock_data.json"
