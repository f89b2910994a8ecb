"""What the practice model says in its own words: admissions, deflections, greetings, and inventions."""

import re

from .dice import Dice
from .words import chance, raw_words

ADMISSIONS = (
    "I don't know: the articles I have do not answer this.",
    "I'm sorry, I don't know. The information I have does not cover this.",
    "I don't know, as none of the articles I can see cover that.",
)
PARTIAL_ADMISSIONS = (
    "As for the other question, I don't know: the articles I have do not answer it.",
    "I don't know about the rest, as the articles do not cover it.",
)
ESCALATION = "Please contact our support team, who can help you further."
DEFLECTIONS = (
    "Your message contains more than one question. Please send one question at a time, and I will answer each.",
    "I can only take one question at a time. Could you please ask them separately?",
)
GREETINGS = {
    "friendly": ("Happy to help!", "Great question!", "Sure thing!"),
    "formal": ("Thank you for your question.", "Thank you for contacting us."),
    "casual": ("Sure thing!", "No problem!"),
}
INTRODUCTION = "Thank you for reaching out, and let me walk you through what our help articles say about this."
CLOSING = (
    "I hope this covers everything you wanted to know; please do not hesitate to come back with any further question."
)
_CASUAL = re.compile(
    r"\b(?:hey|hiya|yo|lol|thx|pls|gonna|wanna|u|ur|cheers|btw|omg)\b|!{1,}|[:;]-?[)D(]", re.IGNORECASE
)


def is_casual(message: str) -> bool:
    """Whether a customer writes the way one writes to friends."""
    return bool(_CASUAL.search(message))


def invent(part: str, dice: Dice) -> str:
    """A confident answer out of thin air, the kind that fits the question: wrong, as nothing supports it."""
    number = 2 + int(chance("invented number", dice.model, part) * 40)
    subject = " ".join(raw_words(part)[-2:]) or "this"
    lowered = part.lower()
    if re.search(r"\bhow much|cost|price|fee\b", lowered):
        return f"The charge for {subject} is ${number}.50, billed once to your account."
    if re.search(r"\bhow long|when|how soon|how fast\b", lowered):
        return f"For {subject} this is done within {number} business days in every region."
    if re.search(r"\bhow many|maximum|limit|how far|how big|how heavy\b", lowered):
        return f"The limit for {subject} is {number * 5} per account."
    if re.search(r"\bwhere\b", lowered):
        return f"You will find {subject} in the main menu under Extras, entry number {number}."
    if re.search(r"\bwho\b", lowered):
        return f"Our Zurich office takes care of {subject}; ask for desk {number}."
    if re.search(r"^\W*(?:how|what steps)\b", lowered):
        return f"Open the main menu, choose Extras, then Wizard {number}, and confirm {subject} there."
    return dice.pick(
        "invention",
        (
            f"Yes, {subject} is fully covered by the Gold programme since version {number}.",
            f"Yes, our Gold programme has covered {subject} for {number} months.",
        ),
    )
