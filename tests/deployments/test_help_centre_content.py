"""The demo's content holds together: formats, counts, ids, references, and facts that the documents really state."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

FOLDER = Path(__file__).parents[2] / "deployments" / "prompts" / "help-centre"
STORY = ("1.1.0", "1.2.0", "1.3.0")
KINDS = {"plain", "paraphrase", "chatty", "typo", "multi_part", "unanswerable"}
ASSERTIONS: dict[str, type] = {
    "contains": str,
    "not_contains": str,
    "regex": str,
    "max_words": int,
    "cites": str,
    "refuses": bool,
}
PROMPT_KEYS = {
    "schema", "name", "version", "description", "author", "changelog", "template", "variables", "retrieval", "model",
    "cache", "gate", "canary", "budget", "value", "approval",
}  # fmt: skip

Row = dict[str, Any]


def read_rows(name: str) -> list[Row]:
    return [json.loads(line) for line in (FOLDER / name).read_text(encoding="utf-8").splitlines()]


def read_spec(version: str) -> Row:
    """A version's spec with `extends` resolved: top-level keys of the story file replace those of the prompt."""
    base: Row = yaml.safe_load((FOLDER / "prompt.yaml").read_text(encoding="utf-8"))
    if version == base["version"]:
        return base
    story: Row = yaml.safe_load((FOLDER / "story" / f"{version}.yaml").read_text(encoding="utf-8"))
    assert story.pop("extends") == "../prompt.yaml"
    return base | story


def folded(question: str) -> str:
    return " ".join(re.findall(r"\w+", question.casefold()))


DOCUMENTS = {path.stem: path.read_text(encoding="utf-8") for path in sorted((FOLDER / "documents").glob("*.md"))}
GOLDEN = read_rows("golden.jsonl")
MUST_PASS = read_rows("must_pass.jsonl")
TRAFFIC = read_rows("traffic.jsonl")
CASES = GOLDEN + MUST_PASS


def question_of(row: Row) -> str:
    return str(row["question"] if "question" in row else row["variables"]["question"])


def facts() -> Iterator[tuple[str, str, list[str]]]:
    """(row id, a fact that a right answer contains, the documents of the row)."""
    for row in TRAFFIC:
        yield from ((row["id"], fact, row["documents"]) for fact in row["expect"])
    for row in CASES:
        for assertion in row["assertions"]:
            if assertion["type"] == "contains":
                yield row["id"], assertion["value"], row["documents"]


def test_there_is_enough_of_everything() -> None:
    assert len(DOCUMENTS) >= 44
    assert len(GOLDEN) >= 64
    assert sum(not row["answerable"] for row in GOLDEN) >= 10
    assert len(MUST_PASS) >= 22
    assert len(TRAFFIC) >= 1_200


@pytest.mark.parametrize("document", DOCUMENTS)
def test_document_has_a_title_and_80_to_220_words(document: str) -> None:
    heading, _, body = DOCUMENTS[document].partition("\n")
    assert re.fullmatch(r"[a-z0-9-]+", document)
    assert re.fullmatch(r"# \S.*", heading)
    assert 80 <= len(body.split()) <= 220


def test_no_two_documents_share_a_title_or_a_sentence() -> None:
    titles = Counter(text.partition("\n")[0] for text in DOCUMENTS.values())
    sentences = Counter(s for text in DOCUMENTS.values() for s in re.split(r"(?<=[.!?])\s+", text.partition("\n")[2]))
    assert [title for title, times in titles.items() if times > 1] == []
    assert [sentence for sentence, times in sentences.items() if times > 1 and len(sentence.split()) > 4] == []


def test_cases_have_the_declared_shape() -> None:
    for row in CASES:
        keys = {"id", "variables", "reference", "answerable", "documents", "tags", "assertions"}
        assert set(row) == keys, row["id"]
        assert set(row["variables"]) == {"question"}, row["id"]
        assert row["variables"]["question"].strip(), row["id"]
        assert row["reference"].strip(), row["id"]
        assert row["tags"], row["id"]
        assert row["answerable"] is bool(row["documents"]), row["id"]
        assert row["answerable"] is ("unanswerable" not in row["tags"]), row["id"]
    assert all(row["assertions"] for row in MUST_PASS)


def test_assertions_are_well_formed_and_fair_to_a_version_that_does_not_cite() -> None:
    for row in CASES:
        for assertion in row["assertions"]:
            assert isinstance(assertion["value"], ASSERTIONS[assertion["type"]]), row["id"]
            assert assertion["type"] != "cites", row["id"]
            if assertion["type"] == "regex":
                re.compile(str(assertion["value"]))


def test_unanswerable_cases_ask_for_a_refusal_and_answerable_ones_for_a_fact() -> None:
    for row in CASES:
        wanted = {"type": "refuses", "value": True}
        assert (wanted in row["assertions"]) is not row["answerable"], row["id"]
        assert any(a["type"] == "contains" for a in row["assertions"]) is row["answerable"], row["id"]


def test_references_are_what_the_documents_say() -> None:
    for row in CASES:
        said = " ".join(DOCUMENTS[document] for document in row["documents"])
        if row["answerable"]:
            for sentence in re.split(r"(?<=[.!?])\s+(?=[A-Z])", row["reference"]):
                assert sentence in said, row["id"]


def test_traffic_has_the_declared_shape() -> None:
    for row in TRAFFIC:
        assert set(row) == {"id", "question", "kind", "answerable", "documents", "expect"}, row["id"]
        assert row["kind"] in KINDS, row["id"]
        assert row["answerable"] is (row["kind"] != "unanswerable"), row["id"]
        assert row["answerable"] is bool(row["documents"]) is bool(row["expect"]), row["id"]
        assert len(set(row["documents"])) == (2 if row["kind"] == "multi_part" else int(row["answerable"])), row["id"]
        assert 3 <= len(row["question"]) <= 2_000, row["id"]


def test_traffic_is_mixed_as_the_story_needs_it() -> None:
    shares = {kind: count / len(TRAFFIC) for kind, count in Counter(row["kind"] for row in TRAFFIC).items()}
    assert set(shares) == KINDS
    assert 0.25 <= shares["multi_part"] <= 0.30
    assert 0.10 <= shares["unanswerable"] <= 0.14
    assert all(share >= 0.08 for share in shares.values())


def test_ids_are_unique() -> None:
    assert [i for i, times in Counter(row["id"] for row in CASES + TRAFFIC).items() if times > 1] == []


def test_no_question_is_asked_twice_nor_in_both_pools() -> None:
    asked = Counter(folded(question_of(row)) for row in CASES)
    assert [question for question, times in asked.items() if times > 1] == []
    exact = Counter(question_of(row).casefold() for row in TRAFFIC)
    assert [question for question, times in exact.items() if times > 1] == []
    assert [row["id"] for row in TRAFFIC if folded(row["question"]) in asked] == []


def test_no_case_asks_two_things() -> None:
    for row in CASES:
        question = row["variables"]["question"]
        assert question.count("?") <= 1, row["id"]
        assert not re.search(r"\b(?:also|besides that|one more thing|two questions)\b|\d\)", question, re.I), row["id"]
        assert len(row["documents"]) <= 1, row["id"]


def test_every_document_named_exists_and_every_document_is_asked_about() -> None:
    named = {document for row in CASES + TRAFFIC for document in row["documents"]}
    assert named == set(DOCUMENTS)


def test_every_expected_fact_stands_in_a_named_document() -> None:
    missing = [
        (row, fact)
        for row, fact, named in facts()
        if not any(fact.casefold() in DOCUMENTS[d].casefold() for d in named)
    ]
    assert missing == []


@pytest.mark.parametrize("version", ["1.0.0", *STORY])
def test_spec_is_complete_and_its_template_uses_only_what_is_declared(version: str) -> None:
    spec = read_spec(version)
    assert set(spec) == PROMPT_KEYS
    assert spec["version"] == version
    assert spec["name"] == spec["retrieval"]["collection"] == FOLDER.name
    declared = set(spec["variables"]) | {spec["retrieval"]["into"]}
    used = set(re.findall(r"{{\s*(\w+)\s*}}", "\n".join(message["content"] for message in spec["template"])))
    assert used == declared
    assert set(re.findall(r"{{\s*(\w+)\s*}}", spec["retrieval"]["query"])) <= set(spec["variables"])
    assert {message["role"] for message in spec["template"]} == {"system", "user"}
    assert all((FOLDER / spec["gate"][key]).is_file() for key in ("golden", "must_pass"))


@pytest.mark.parametrize("version", STORY)
def test_story_changes_the_template_and_says_why(version: str) -> None:
    text = (FOLDER / "story" / f"{version}.yaml").read_text(encoding="utf-8")
    assert set(yaml.safe_load(text)) == {"extends", "version", "changelog", "template"}
    assert read_spec(version)["template"] != read_spec("1.0.0")["template"]
