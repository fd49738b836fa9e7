"""The OpenAPI document: valid, complete, with the schema of findings, and obeyed whatever is asked."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from openapi_spec_validator import OpenAPIV31SpecValidator
from schemathesis import GenerationMode, openapi
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from exporter.api.handlers import OPERATIONS
from exporter.api.openapi import document
from exporter.api.problems import KINDS
from exporter.report.json_output import schema as schema_of_findings
from exporter.versions import STRATEGY_NAMES
from tests.support.asking import asking, until_judged

AT = 1.6e9
# What a client reads.
DOCUMENT = json.loads(json.dumps(document(OPERATIONS)))
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def exporter(tmp_path_factory):
    tags = {"docker.io/mojaloop/ledger": {"v1.0.0": AT, "v1.0.1": AT}}
    images = {"ledger": "mojaloop/ledger:v1.0.0", "missing": "mojaloop/missing:v1.0.0"}
    with asking(tmp_path_factory.mktemp("document"), images=images, tags=tags) as running:
        until_judged(running, 2)
        yield running


def test_the_document_is_valid():
    assert list(OpenAPIV31SpecValidator(DOCUMENT).iter_errors()) == []


def test_the_document_has_every_operation_parameter_and_problem():
    assert list(DOCUMENT["paths"]) == [operation.path for operation in OPERATIONS]
    text = json.dumps(DOCUMENT)
    for operation in OPERATIONS:
        item = DOCUMENT["paths"][operation.path]
        assert [one["name"] for one in item["parameters"]] == [one.name for one in operation.parameters]
        assert set(re.findall(r"\{(\w+)\}", operation.path)) == {
            one.name for one in operation.parameters if one.place == "path"
        }
    declared = {kind.type for kind in KINDS if kind.name != "no-such-path"}
    assert [kind for kind in declared if kind not in text] == []


def test_the_document_has_the_schema_of_findings():
    """`check --output json` and `/api/v1/findings` obey one schema, which docs/findings.schema.json has too."""
    published = json.loads(json.dumps(schema_of_findings()).replace("#/$defs/", "#/components/schemas/"))
    ours = DOCUMENT["components"]["schemas"]
    assert {name: ours[name] for name in published["$defs"]} == published["$defs"]
    answer = DOCUMENT["paths"]["/api/v1/findings"]["get"]["responses"]["200"]["content"]["application/json"]
    assert answer["schema"] == {"$ref": published["$ref"]}


def test_the_exporter_serves_the_document(exporter):
    answer = exporter.ask("/api/v1/openapi.json")
    assert (answer.media, answer.json()) == ("application/json", DOCUMENT)


REFERENCES = st.sampled_from(["mojaloop/ledger:v1.0.0", "docker.io/mojaloop/ledger:v1.0.1", "mojaloop/ledger:latest",
                              "mojaloop/missing:v1.0.0", "mojaloop/ledger", "mojaloop/ledger:v1.0.9"])  # fmt: skip
VALUES = {
    "reference": REFERENCES,
    "repository": st.sampled_from(["mojaloop/ledger", "mojaloop/missing", "mojaloop/unknown"]),
    "strategy": st.sampled_from(list(STRATEGY_NAMES)),
    "org": st.just("mojaloop"),
    "image": st.sampled_from(["ledger", "missing", "unknown"]),
    "tag": st.sampled_from(["v1.0.0", "v1.0.1", "latest", "v1.0.9"]),
}


# What the schemas permit, and what they do not; without parameters there is nothing that they do not.
GENERATED = [
    pytest.param(operation, mode, id=f"{operation.label} {mode.value}")
    for operation in (found.ok() for found in openapi.from_dict(DOCUMENT).get_all_operations())
    for mode in GenerationMode
    if mode is GenerationMode.POSITIVE or operation.query or operation.path_parameters
]


@pytest.mark.parametrize(("operation", "mode"), GENERATED)
def test_generated_requests_find_no_answer_outside_the_document(exporter, operation, mode):
    answered = set()

    @given(operation.as_strategy(generation_mode=mode), st.data())
    @settings(max_examples=25, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
    def ask(case, data):
        # Random text is hardly ever the name of an image.
        if data.draw(st.booleans(), label="known values"):
            for values in (case.query, case.path_parameters):
                for name in [name for name in values or () if name in VALUES]:
                    values[name] = data.draw(VALUES[name], label=name)
        # A client sends them without its own opinion of what a path is.
        assume("/" not in json.dumps(case.path_parameters or {}).replace("\\/", "/"))
        # A machine that is busy with something else is not a failure.
        answer = case.call(base_url=f"http://127.0.0.1:{exporter.port}", timeout=60)
        case.validate_response(answer, checks=CHECKS)
        answered.add(answer.status_code)

    ask()
    assert mode is GenerationMode.NEGATIVE or answered & {200, 204}, "some requests are answered"


def test_every_problem_has_its_heading_and_status_in_the_documentation():
    text = (Path(__file__).parent.parent / "docs" / "api.md").read_text()
    found = re.findall(r"^### ([a-z-]+)\n([0-9]{3})\. ", text, re.MULTILINE)
    assert found == [(kind.name, str(kind.status)) for kind in KINDS]
    for operation in OPERATIONS:
        assert re.sub(r"\{(\w+)\}", lambda match: match[1].upper(), operation.path) in text
