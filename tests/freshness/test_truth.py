"""The trial's own rules: the better document does answer better, and an answer that is too old is told from a new."""

import random

import numpy as np

from gateway.embedding.lexical import LexicalEmbedder
from tests.freshness.truth import SUBJECTS, Subject


async def test_a_better_document_wins_and_each_subject_finds_its_own() -> None:
    draw = random.Random(3)
    embedder = LexicalEmbedder()
    subjects = [Subject(name) for name in SUBJECTS]
    bases = [subject.next_write(draw).body for subject in subjects]
    betters = []
    for subject in subjects:
        while "-b" not in (write := subject.next_write(draw)).code:
            pass
        betters.append(write.body)
    texts = [f"{body['title']}\n{body['text']}" for body in (*bases, *betters) if body]
    documents = await embedder.embed(texts)
    asked = await embedder.embed([subject.question(2) for subject in subjects])
    count = len(subjects)
    assert count == 50
    scores = documents @ asked.T
    own = scores[np.arange(count, 2 * count), np.arange(count)].copy()
    scores[np.arange(count, 2 * count), np.arange(count)] = -1  # its own better one is not there, all others are
    assert np.argmax(scores, axis=0).tolist() == list(range(count))
    scores[np.arange(count, 2 * count), np.arange(count)] = own
    assert np.argmax(scores, axis=0).tolist() == list(range(count, 2 * count))


def test_an_answer_is_held_to_what_was_acknowledged_when_it_was_asked() -> None:
    subject = Subject("apple")
    first = subject.next_write(random.Random(1)).code
    subject.acknowledge()
    asked_at = subject.acknowledged
    second = subject.next_write(random.Random(1)).code
    for code in (first, second):
        assert subject.wrong(asked_at, f"the apple code is {code}.".encode()) == ""
    subject.acknowledge()
    assert subject.wrong(subject.acknowledged, f"the apple code is {first}.".encode())
    assert not subject.wrong(subject.acknowledged, f"the apple code is {second}.".encode())
    assert subject.wrong(asked_at, b"something else")
