"""The OpenAPI document is true: schemathesis sends what it allows and what it does not, to the whole application."""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from copy import deepcopy
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from gateway.api.schema import ENDPOINTS, OPEN_PATHS
from gateway.app import ANSWERING, create_app
from gateway.settings import Settings
from tests.gateway.api.conftest import Shop, open_shop
from tests.gateway_stack import Stack, unique

pytestmark = pytest.mark.integration

CHECKS: list[Any] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
REFUSALS: list[Any] = [negative_data_rejection, unsupported_method]
DOCUMENT = create_app(Settings()).openapi()


def bounded(examples: int) -> settings:
    return settings(
        max_examples=examples, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )


def api(document: dict[str, Any], mode: str) -> Any:
    """What schemathesis generates requests from. Bodies may also be refused for their size or their key."""
    config = {
        "generation": {"mode": mode, "with-security-parameters": False},
        "checks": {"negative_data_rejection": {"expected-statuses": [400, 401, 403, 404, 405, 409, 413, 429]}},
    }
    return schemathesis.openapi.from_dict(document, config=SchemathesisConfig.from_dict(config))


QUESTION = {
    "type": "object",
    "properties": {"question": {"type": "string", "maxLength": 200}},
    "required": ["question"],
    "additionalProperties": False,
}


def answerable(paths: Iterable[str], changes: dict[str, Any], *required: str) -> dict[str, Any]:
    """The document of endpoints that answer, narrowed to what is there and to what that asks for."""
    narrowed = deepcopy(DOCUMENT)
    narrowed["paths"] = {path: narrowed["paths"][path] for path in paths}
    models = narrowed["components"]["schemas"]
    del models["Options"]["properties"]["origin"]
    for path in paths:
        operation = narrowed["paths"][path]["post"]
        del operation["parameters"]  # keys that come again with another body are refused, and rightly
        body = models[operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]]
        body["properties"] |= changes
        body["required"] = list(required)
    return narrowed


VENDORS, OURS = ["/v1/chat/completions", "/v1/messages"], ["/v1/completion", "/v1/chat"]
MANAGED = {"model": {"enum": ["prompt:help", "prompt:help@1.0.0"]}, "variables": QUESTION}
RAW = {
    "model": {"enum": ["gpt-4.1-mini", "claude-haiku-4-5"]},
    "variables": {"const": None},
    "messages": {
        "type": "array",
        "minItems": 1,
        "items": {
            "type": "object",
            "properties": {"role": {"enum": ["user", "assistant"]}, "content": {"type": "string"}},
            "required": ["role", "content"],
        },
    },
}
PLAIN = {
    "prompt": {"const": "help"},
    "version": {"enum": [None, "1.0.0"]},
    "variables": QUESTION,
    "params": {"enum": [None, {"temperature": 0}]},
}


@pytest.fixture(scope="module")
def one_shop(stack: Stack) -> Iterator[Shop]:
    opened = open_shop(stack, unique("tenant"), "help")
    yield opened
    opened.openai.close()
    opened.http.close()


@api(DOCUMENT, "all").parametrize()  # type: ignore[untyped-decorator]
@bounded(8)
def test_every_endpoint_does_what_its_schema_says(case: Any, one_shop: Shop) -> None:
    key = {"authorization": f"Bearer {one_shop.key}"}
    case.call_and_validate(base_url=one_shop.stack.url, headers=key, checks=[*CHECKS, *REFUSALS])


def check_answer(case: Any, shop: Shop) -> None:
    key = {"authorization": f"Bearer {shop.key}"}
    case.call_and_validate(base_url=shop.stack.url, headers=key, checks=CHECKS)


@api(answerable(VENDORS, MANAGED, "model", "variables"), "positive").parametrize()  # type: ignore[untyped-decorator]
@bounded(15)
def test_managed_answers_in_vendors_words(case: Any, one_shop: Shop) -> None:
    check_answer(case, one_shop)


@api(answerable(VENDORS, RAW, "model", "messages"), "positive").parametrize()  # type: ignore[untyped-decorator]
@bounded(15)
def test_raw_answers_in_vendors_words(case: Any, one_shop: Shop) -> None:
    check_answer(case, one_shop)


@api(answerable(OURS, PLAIN, "prompt", "variables"), "positive").parametrize()  # type: ignore[untyped-decorator]
@bounded(15)
def test_plain_answers(case: Any, one_shop: Shop) -> None:
    check_answer(case, one_shop)


OPERATIONS = [(method, path) for path, operations in DOCUMENT["paths"].items() for method in operations]


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_without_a_key_nothing_is_told(one_shop: Shop, method: str, path: str) -> None:
    with one_shop.stack.http() as http:
        response = http.request(method, path.format_map(defaultdict(lambda: "call_" + "0" * 26)), content=b"not JSON")
    assert response.status_code == (200 if path in OPEN_PATHS else 401)
    assert ("security" in DOCUMENT["paths"][path][method]) == (path not in OPEN_PATHS)


def test_every_endpoint_that_answers_is_described() -> None:
    assert set(ANSWERING) == set(ENDPOINTS) <= set(DOCUMENT["paths"])


def test_every_reference_points_to_something() -> None:
    text = json.dumps(DOCUMENT)
    names = set(re.findall(r'"#/components/schemas/([^"]+)"', text))
    assert names <= set(DOCUMENT["components"]["schemas"])
    assert "HTTPValidationError" not in text


def test_every_error_has_its_model() -> None:
    for path, operations in DOCUMENT["paths"].items():
        for method, operation in operations.items():
            for status, response in operation["responses"].items():
                if status >= "400":
                    reference = response["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
                    expected = "AnthropicErrorBody" if path == "/v1/messages" else "ErrorBody"
                    assert reference == expected or path.startswith("/v1/messages/"), (method, path, status)
