"""The practice model as a judge: it knows a judge's prompt when it sees one, and its scores order answers rightly."""

import json

import pytest

from infra.simulator.practice.judge_prompt import read_judge_task
from infra.simulator.practice.replying import Prompt, reply
from tests.infra.simulator.practice.test_answering import DOCUMENTS, TWO, UNANSWERABLE, answer

QUESTION = "How long do I have to return a lamp?"
REFERENCE = "A lamp can be sent back up to 30 days after delivery."
GOOD = "You can return any lamp within 30 days of delivery. [doc:returns-policy]"
WRONG_NUMBER = "You can return any lamp within 14 days of delivery."
ADMITS = "I don't know: the articles I have do not answer this."
INVENTED = "Yes, gift cards are sold in Paris from €25 upwards."
DEFLECTS = "Please send me one question at a time."
NOTHING = "Not answerable: the articles do not say whether gift cards are sold."

STYLES = {
    "hashes": "## Question\n{question}\n\n## {ground_name}\n{ground}\n\n## Answer\n{answer}",
    "colons": "Question: {question}\n\n{ground_name}:\n{ground}\n\nAnswer to grade: {answer}",
    "bold": "**User question**\n{question}\n\n**{ground_name}:**\n{ground}\n\n**Response:**\n{answer}",
    "tags": "<question>{question}</question>\n<{ground_tag}>\n{ground}\n</{ground_tag}>\n<response>{answer}</response>",
    "rules": "=== Question ===\n{question}\n=== {ground_name} ===\n{ground}\n=== Submission ===\n{answer}",
    "json": "",
}
ASKS = {
    "unit": 'Rate the answer from 0 to 1. Return JSON: {"accuracy": 0.0, "helpfulness": 0.0, "reason": ""}',
    "five": 'Grade from 1 (worst) to 5 (best) as JSON {"accuracy": <1-5>, "helpfulness": <1-5>}',
    "ten": 'Evaluate the reply on a scale of 1-10. Respond with JSON {"accuracy": n, "helpfulness": n}.',
}
RANGES = {"unit": (0.0, 1.0), "five": (1, 5), "ten": (1, 10)}


def verdict(
    text: str,
    *,
    question: str = QUESTION,
    reference: str = "",
    documents: str = "",
    style: str = "hashes",
    ask: str = "unit",
) -> dict[str, float]:
    ground = reference or documents
    fields = {
        "question": question,
        "ground": ground,
        "answer": text,
        "ground_name": "Reference answer" if reference else "Documents",
        "ground_tag": "expected_answer" if reference else "context",
    }
    if style == "json":
        key = "reference" if reference else "documents"
        content = json.dumps({"question": question, key: ground, "answer": text})
    else:
        content = STYLES[style].format(**fields)
    read: dict[str, float] = json.loads(reply(Prompt("gpt-4.1", (("system", ASKS[ask]), ("user", content)))))
    return read


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("ask", ASKS)
def test_every_style_and_scale_is_read(style: str, ask: str) -> None:
    low, high = RANGES[ask]
    good = verdict(GOOD, documents=DOCUMENTS, style=style, ask=ask)
    bad = verdict("It takes 99 years and a blue whale.", documents=DOCUMENTS, style=style, ask=ask)
    exact = verdict(GOOD, reference=REFERENCE, style=style, ask=ask)

    assert {"accuracy", "helpfulness"} <= set(good)
    assert good["accuracy"] == exact["accuracy"] == high
    assert good["helpfulness"] > low + 0.8 * (high - low)
    assert low <= bad["accuracy"] <= low + 0.3 * (high - low)
    assert low <= bad["helpfulness"] <= low + 0.3 * (high - low)


@pytest.mark.parametrize(
    ("question", "text", "reference", "least", "most"),
    [
        (QUESTION, GOOD, REFERENCE, 0.9, 1.0),
        (QUESTION, "Thirty days from delivery.", "30 days from delivery.", 0.9, 1.0),
        (QUESTION, WRONG_NUMBER, REFERENCE, 0.0, 0.2),
        (QUESTION, "You can return lamps after delivery.", REFERENCE, 0.0, 0.5),
        (QUESTION, ADMITS, REFERENCE, 0.0, 0.2),
        (QUESTION, DEFLECTS, REFERENCE, 0.0, 0.2),
        (UNANSWERABLE, ADMITS, NOTHING, 0.9, 1.0),
        (UNANSWERABLE, "Sorry, I couldn't find that in our help centre. Please contact support.", NOTHING, 0.9, 1.0),
        (UNANSWERABLE, INVENTED, NOTHING, 0.0, 0.1),
        (UNANSWERABLE, DEFLECTS, NOTHING, 0.0, 0.5),
    ],
)
def test_accuracy_against_a_reference(question: str, text: str, reference: str, least: float, most: float) -> None:
    assert least <= verdict(text, question=question, reference=reference)["accuracy"] <= most


@pytest.mark.parametrize(
    ("question", "text", "least", "most"),
    [
        (QUESTION, GOOD, 0.9, 1.0),
        (QUESTION, WRONG_NUMBER, 0.0, 0.5),
        (QUESTION, "Standard shipping takes 3 to 5 business days.", 0.0, 0.5),
        (QUESTION, ADMITS, 0.0, 0.2),
        (QUESTION, "", 0.0, 0.2),
        (UNANSWERABLE, ADMITS, 0.9, 1.0),
        (UNANSWERABLE, INVENTED, 0.0, 0.2),
        (TWO, "Every lamp has a warranty of 2 years. Express shipping takes one day and costs €12.", 0.9, 1.0),
        (TWO, "Every lamp has a warranty of 2 years.", 0.3, 0.6),
        (TWO, DEFLECTS, 0.0, 0.2),
    ],
)
def test_helpfulness_against_the_documents(question: str, text: str, least: float, most: float) -> None:
    if not text:
        text = "Thank you for your question!"

    assert least <= verdict(text, question=question, documents=DOCUMENTS)["helpfulness"] <= most


def test_unsupported_claims_cost_accuracy() -> None:
    padded = GOOD + " Our Gold programme has covered moonlight deliveries for 17 months."

    assert verdict(padded, documents=DOCUMENTS)["accuracy"] < verdict(GOOD, documents=DOCUMENTS)["accuracy"] - 0.2


def test_a_better_prompt_scores_better() -> None:
    questions = (QUESTION, UNANSWERABLE, TWO, "Do you repair toasters?", "When do I get my refund?")

    def mean(instructions: str) -> float:
        rated = [verdict(answer(instructions, q), question=q, documents=DOCUMENTS) for q in questions]
        return sum(r["accuracy"] + r["helpfulness"] for r in rated) / (2 * len(rated))

    good = mean("Answer every part of the question from the articles, cite them, and say so if they do not answer.")
    uncited = mean("Answer every part of the question from the articles, and say so if they do not answer.")
    deflecting = mean("Never guess. One question at a time: ask customers to send further questions separately.")
    inventing = mean("Always give an answer, also if you have to guess.")

    assert good > uncited > deflecting > inventing


def test_bare_numbers_labels_and_reasons() -> None:
    content = f"Question: {QUESTION}\nExpected answer: {REFERENCE}\nResponse: "

    def judged(ask: str, text: str = GOOD) -> str:
        return reply(Prompt("gpt-4.1", (("user", f"{ask}\n\n{content}{text}"),)))

    assert judged("Rate the response from 1 to 5. Reply with the number only.") == "5"
    assert judged("Rate the response from 1 to 5. Reply with the number only.", WRONG_NUMBER) in ("1", "2")
    assert judged("Is the response correct? Grade it with yes or no.") == "yes"
    assert judged("Is the response correct? Grade it with yes or no.", WRONG_NUMBER) == "no"
    assert json.loads(judged('Judge it. JSON: {"score": 0-1, "reason": "..."}'))["reason"]


def test_a_schema_is_obeyed() -> None:
    schema = {
        "type": "object",
        "properties": {
            "result": {"type": "string", "enum": ["fail", "pass"]},
            "stars": {"type": "integer"},
            "correct": {"type": "boolean"},
            "rationale": {"type": "string"},
        },
    }
    content = f"Evaluate the answer, stars from 1 to 5.\n\nQuestion: {QUESTION}\nReference: {REFERENCE}\nAnswer: {GOOD}"
    read = json.loads(reply(Prompt("gpt-4.1", (("user", content),), wants_json=True, schema=schema)))

    assert (read["result"], read["stars"], read["correct"]) == ("pass", 5, True)
    assert isinstance(read["rationale"], str)


@pytest.mark.parametrize(
    ("first", "second", "winner"), [(GOOD, WRONG_NUMBER, "A"), (ADMITS, GOOD, "B"), (GOOD, GOOD, "tie")]
)
def test_the_better_of_two(first: str, second: str, winner: str) -> None:
    content = f"Question: {QUESTION}\nReference: {REFERENCE}\n\nAnswer A:\n{first}\n\nAnswer B:\n{second}"
    ask = 'Which answer is better? Return JSON {"winner": "A" or "B" or "tie", "reason": "..."}'
    read = json.loads(reply(Prompt("gpt-4.1", (("system", ask), ("user", content)))))

    assert read["winner"] == winner


def test_smaller_judges_are_noisier() -> None:
    def spread(model: str) -> float:
        scores = []
        for n in range(30):
            content = f"Question: {QUESTION} ({n})\nReference: {REFERENCE}\nAnswer: You can return it within 30 days."
            ask = 'Rate accuracy from 0 to 1. JSON {"accuracy": 0.0}'
            scores.append(json.loads(reply(Prompt(model, (("system", ask), ("user", content)))))["accuracy"])
        return float(max(scores) - min(scores))

    assert spread("gpt-4.1") == 0.0 < spread("gpt-4.1-nano")


@pytest.mark.parametrize(
    "content",
    [
        "How do I rate a lamp? Where is the score shown?",
        "I want to evaluate your lamps. Answer me: how long is the warranty?",
        "Which is better, the small or the large lamp?",
    ],
)
def test_a_customer_is_not_taken_for_a_judge(content: str) -> None:
    messages = (("system", f"Answer from the articles.\n\n{DOCUMENTS}"), ("user", content))

    assert read_judge_task(messages, None, False) is None
