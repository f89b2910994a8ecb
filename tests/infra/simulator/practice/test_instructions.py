"""What the practice model understands of a prompt, by table: unlike wordings, negations, and tricky ones."""

import time

import pytest

from infra.simulator.practice.instructions import read_instructions

CITE = {
    True: (
        "Cite your sources.",
        "do not leave out where it came from",
        "give references",
        "name the article you used",
        "Always say which article the answer comes from.",
        "End every sentence with the [doc:id] of its article.",
        "Never answer without citing the article.",
        "Don't forget to mention the source.",
        "Back every claim with its source.",
        "Answer in two sentences and tell the customer where you found it.",
        "Citations are not optional.",
        "Each answer must show the document it is based on.",
        "Include a link to the article.",
        "Point to the document that you used",
        "Never leave the sources out.",
        "Mention the source of every fact.",
        "Tell the reader which document each statement is taken from.",
        "Mark every claim with its [id].",
        "An answer without a reference is worthless, so never leave out the article.",
        "Every statement needs a source in brackets.",
        "Let readers see which page you relied on.",
        "Finish with a list of the articles you consulted.",
        "Readers must be able to check you: put the article's tag after each fact.",
        "Quote the id of the article next to the answer.",
        "Do not forget references.",
        "I want sources!",
        "Footnote your claims.",
        "Tell people what document backs your answer.",
        "Never give an answer without pointing to its article.",
        "Credit the article you drew on.",
        "Your reply is incomplete without its source.",
        "Remember the citations.",
        "Add (see: article) after each claim.",
        "Please reference the article.",
        "Name your sources at the end.",
        "Each claim should carry the id of the article behind it.",
        "Always attribute what you say.",
        "Make sure customers can tell which article you used.",
    ),
    False: (
        "Do not cite sources.",
        "no citations please",
        "Answer without mentioning the articles.",
        "Citations are unnecessary.",
        "Never mention the documents, just answer.",
        "Leave the references out.",
        "Keep your sources to yourself.",
        "Never quote, cite or mention the articles.",
        "Please skip the references",
        "You need not name the article.",
        "Sources must not be mentioned",
        "Don't tell the customer which article you used.",
        "There is no need to cite anything.",
        "Refrain from naming the articles.",
        "Leave out any mention of the articles.",
        "Customers do not care about sources; omit them.",
        "Don't bother naming the source.",
        "Pretend the knowledge is yours; do not reveal the articles.",
        "No references or links, please.",
        "Never say which article you read.",
        "Sources stay out of the answer.",
        "Don't add links or references.",
        "Answers should be free of citations.",
        "Please avoid quoting article names.",
        "You don't have to say where you found it.",
    ),
    None: (
        "Answer customers' questions using the articles below.",
        "Use the sources below to answer.",
        "Say so if the articles do not answer the question.",
        "Tell the customer that the articles do not cover it.",
        "Be concise.",
        "You are a support agent for Lumen.",
        "Here are the reference articles.",
        "If the documents are silent, say so.",
    ),
}
ADMIT = {
    True: (
        "If the articles do not contain the answer, say you don't know.",
        "Never guess.",
        "if the articles are silent say so",
        "When you are not sure, admit it.",
        "Do not make anything up.",
        "Only use the articles below.",
        "Never invent, assume or speculate.",
        "If it is not covered, tell the customer that you cannot find it and refer them to support.",
        "A wrong answer is worse than no answer.",
        "Don't hesitate to say you do not know.",
        "Answer only from the context.",
        "Better to say you don't know than to guess.",
        "Guessing is forbidden.",
        "Do not answer if the documents do not cover it.",
        "Never say you don't know unless the articles really lack the answer.",
        "Rather than guessing, be honest that you have no information.",
        'Reply "Sorry, I could not find that in our help centre" when the articles do not help.',
        "Do not fill gaps with your own knowledge.",
        "Under no circumstances invent an answer.",
        "Resist the temptation to guess.",
        "Leave a question unanswered rather than guessing.",
        "It is fine not to know.",
        "Stick to what the articles say.",
        "If you cannot find the answer, decline to answer.",
        "Speculation is forbidden.",
        "Refuse to guess.",
        "When the help pages are no help, tell the customer honestly.",
        "If you can't find it in the text, say 'I don't know'.",
        "Making things up is a firing offence.",
        "Never improvise.",
        "Answers must come from the articles alone.",
        "If in doubt, say you are not certain.",
        "Anything not in the articles is unknown to you; say that.",
        "Say you have no information when that is the case.",
        "Do not go beyond the articles.",
        "Only state what is written in the documents.",
        "If the context is insufficient, reply that you cannot answer.",
        "Unknown is an acceptable answer.",
        "Honesty first: if you do not have the answer, say so plainly.",
        "If the text doesn't cover it, just say it isn't covered.",
        "No speculation.",
        "Do not hallucinate.",
        "Should the articles be silent, acknowledge that you cannot help.",
        "Avoid guessing at all costs.",
        "Don't pretend to know.",
        "Where the sources lack an answer, point the customer to support.",
        "Answer strictly on the basis of the documents.",
        "Never answer from memory; if it isn't in the text, admit that.",
    ),
    False: (
        "Take your best guess.",
        "Always give an answer, even when the articles do not contain it.",
        "Never say you don't know.",
        "Do not admit that you don't know.",
        "If you are unsure, make a plausible answer up.",
        "Never leave a customer without an answer.",
        "An answer is better than no answer.",
        "Don't be afraid to guess.",
        "Use your general knowledge when the articles are silent.",
        "Never refuse; every question deserves an answer.",
        "If the articles do not say, fill in the gaps.",
        "Saying 'I don't know' is not allowed.",
        "Always answer confidently, even if the documents are silent.",
        "Do not show any doubt.",
        "No customer may go away empty-handed.",
        "You must answer every question.",
        "If the answer is missing, invent something convincing.",
        "Do not limit yourself to what the articles say.",
        "Doubt is bad: never show uncertainty.",
        "Saying nothing is worse; something is better than nothing.",
        "The customer must always leave with an answer.",
        "Improvise if necessary.",
        "Not knowing is not an option.",
        "Come up with something plausible when the articles fall short.",
        "'I don't know' is never acceptable.",
        "You always know the answer.",
        "Feel free to make assumptions.",
        "Guess rather than refuse.",
        "Even without evidence, give a definite answer.",
        "Don't tell customers that information is missing.",
        "Whatever happens, give an answer.",
        "Never turn a customer away.",
        "When unsure, make an educated guess.",
        "If nothing fits, invent a reasonable procedure.",
        "Avoid saying that you do not know.",
        "Don't be shy: speculate when you have to.",
        "Refusing is not allowed.",
        "Sound certain even when you are not.",
    ),
    None: (
        "Answer the customer's question.",
        "Be brief and friendly.",
        "Cite your sources.",
        "Never second-guess the customer.",
        "If the customer does not give their name, use 'there'.",
        "Answer all questions politely.",
        "You are a helpful, confident assistant.",
    ),
}
BRIEF = {
    True: (
        "Keep it short.",
        "two sentences at most",
        "Be concise.",
        "No fluff.",
        "Avoid long answers.",
        "Don't ramble.",
        "Use no more than 40 words.",
        "In one or two sentences.",
        "Answer in a sentence or two.",
        "do not elaborate",
        "Get to the point: be terse",
        "Reply with a single sentence.",
        "Brevity is a virtue.",
        "Make it quick.",
        "Use as few words as possible.",
        "Three sentences max.",
        "Don't go into detail.",
        "No essays.",
        "Short and sweet.",
        "Cap answers at 30 words.",
        "Waste no words.",
        "Skip the small talk and be direct.",
        "One-sentence answers only.",
    ),
    False: (
        "Be thorough and detailed.",
        "Explain in depth.",
        "Write at least five sentences.",
        "Don't be too brief.",
        "Give as much detail as you can, in several paragraphs.",
        "Never give short answers.",
        "Elaborate.",
        "Answer comprehensively, with full background.",
        "Take your time and explain everything.",
        "Write long, rich answers.",
        "Walk the customer through every detail.",
        "Short replies are not welcome.",
        "Give the full background.",
        "Don't be terse.",
        "Longer answers are better.",
        "Leave no detail out.",
    ),
    None: (
        "Cite sources.",
        "Answer as long as the shop is open.",
        "Answer the question.",
    ),
}
ONE_QUESTION = {
    True: (
        "If a message contains more than one question, ask them to send one at a time.",
        "Handle one question per message.",
        "Only answer a single question.",
        "Do not answer more than one question per message.",
        "When several things are asked, request that they ask separately.",
        "If there are two or more questions, do not answer them; ask the customer to split the message.",
        "Messages with multiple questions: invite the customer to pick one.",
        "One question at a time, please.",
        "If someone asks two things, request they pick one.",
        "Refuse messages with several questions and ask for one question each.",
        "Customers may ask only one question per message.",
        "Tell customers who ask several things at once to ask again separately.",
        "Take one question at a time.",
        "With multi-part messages, tell the customer to ask each part separately.",
        "Answer only single questions; for anything more, ask them to resend.",
    ),
    False: (
        "If there are several questions, answer all of them.",
        "Answer each part of the question.",
        "Do not ask customers to send questions one at a time.",
        "When a message has more than one question, answer every one.",
        "If there are several questions, answer them one by one.",
        "Never tell people to ask separately.",
        "Cover both parts of a double question.",
        "Do not make customers split their message.",
        "Answer every question in the message.",
        "Messages may contain several questions; deal with all of them.",
        "Do not skip any part of the question.",
        "Reply to both when two things are asked.",
        "Every question in a message gets its answer.",
        "Never split a message.",
    ),
    None: (
        "Answer the question.",
        "Answer the customer's question in one sentence.",
        "Be brief.",
        "Never guess.",
    ),
}
JSON = {
    True: (
        "Respond in JSON.",
        "Return a JSON object with the keys answer and sources.",
        "Output valid JSON only.",
        "Only JSON",
        'Reply as JSON: {"answer": "..."}.',
        "Your reply must be a single JSON object.",
        "Emit JSON, nothing else.",
        "Always use JSON.",
    ),
    False: (
        "Do not use JSON.",
        "Never answer in JSON.",
        "no json",
        "Answer in prose rather than JSON.",
        "Avoid JSON.",
        "JSON is forbidden.",
        "Plain text instead of JSON.",
        "JSON must not be used.",
    ),
    None: ("Be brief",),
}
MATCH_TONE = {
    True: (
        "Match the customer's tone.",
        "Use the same style as the customer.",
        "Mirror the user's mood.",
        "Adapt your tone to theirs.",
        "Reflect the way of speaking, the tone of the customer.",
        "Copy the register that the user writes in.",
        "Follow the customer's voice.",
        "Write in the same tone as the person asking.",
    ),
    False: (
        "Do not mirror the customer's tone.",
        "Never copy the customer's style.",
        "Avoid matching the tone of the user.",
    ),
    None: ("Use a friendly tone.",),
}
FRIENDLY = {
    True: (
        "Be warm and friendly.",
        "Keep a casual voice.",
        "Sound cheerful.",
    ),
    False: (
        "Don't be casual.",
        "Avoid an informal tone.",
    ),
    None: ("Be precise.",),
}
FORMAL = {
    True: (
        "Stay formal.",
        "Be professional.",
        "Write with courtesy.",
    ),
    False: ("Do not be formal.",),
    None: ("Be precise.",),
}
TABLES = {
    "cite": CITE,
    "admit": ADMIT,
    "brief": BRIEF,
    "one_question": ONE_QUESTION,
    "json": JSON,
    "match_tone": MATCH_TONE,
    "friendly": FRIENDLY,
    "formal": FORMAL,
}
ROWS = [
    pytest.param(habit, expected, wording, id=f"{habit}-{expected}-{wording[:50]}")
    for habit, table in TABLES.items()
    for expected, wordings in table.items()
    for wording in wordings
]


@pytest.mark.parametrize(("habit", "expected", "wording"), ROWS)
def test_a_wording_is_understood(habit: str, expected: bool | None, wording: str) -> None:
    assert getattr(read_instructions(wording), habit) is expected


@pytest.mark.parametrize(("habit", "expected", "wording"), ROWS)
def test_a_wording_is_understood_among_others(habit: str, expected: bool | None, wording: str) -> None:
    prompt = f"You are the assistant of a bicycle shop in Ghent.\n- {wording}\n- Thank people for their patience.\n"

    assert getattr(read_instructions(prompt), habit) is expected


@pytest.mark.parametrize(
    ("wording", "sentences", "words"),
    [
        ("two sentences at most", 2, None),
        ("Use no more than 40 words.", None, 40),
        ("In one or two sentences.", 2, None),
        ("Answer in a sentence or two.", 2, None),
        ("Stay under 50 words.", None, 50),
        ("Limit yourself to 3 sentences.", 3, None),
        ("One short paragraph.", 4, None),
        ("Write at least three sentences.", None, None),
        ("After every sentence add the id.", None, None),
        ("Be kind.", None, None),
    ],
)
def test_limits_of_length(wording: str, sentences: int | None, words: int | None) -> None:
    read = read_instructions(wording)

    assert (read.max_sentences, read.max_words) == (sentences, words)


def test_the_words_of_an_admission_are_taken_over() -> None:
    read = read_instructions('If the articles do not help, reply "Sorry, that is not in our help centre yet."')

    assert read.admission == "Sorry, that is not in our help centre yet."


def test_a_contact_is_taken_over() -> None:
    read = read_instructions("If you don't know, say so and point to care@velo.example.")

    assert read.contact == "care@velo.example"


@pytest.mark.parametrize("piece", ["a", "a ", "a-", "a'", "1 ", "two ", "\n"])
def test_a_long_text_is_read_in_linear_time(piece: str) -> None:
    begun = time.process_time()
    read_instructions(piece * (20_000 // len(piece)) + ".")

    assert time.process_time() - begun < 5  # by cubes it was hours
