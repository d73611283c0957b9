"""Requests made up from the server's own OpenAPI document: none is a server error."""

from pathlib import Path
from typing import Any

import pytest

from tests.service.conftest import Serve


def check(serve: Serve, index: Path, examples: int) -> set[str]:
    import schemathesis
    from hypothesis import HealthCheck, Phase, given, settings
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_schema_conformance,
    )

    client = serve({"scenes": index}, writable=True)
    schema = schemathesis.openapi.from_asgi("/v1/openapi.json", client.app)
    seen: dict[str, set[int]] = {}
    for found in schema.get_all_operations():
        operation: Any = found.ok()  # type: ignore[union-attr]

        @given(case=operation.as_strategy())
        @settings(
            max_examples=examples,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def asked(case: Any) -> None:
            if "name" in (case.path_parameters or {}):
                case.path_parameters["name"] = "scenes"
            answer = case.call(session=client)
            case.validate_response(
                answer,
                checks=[
                    not_a_server_error,
                    content_type_conformance,
                    response_schema_conformance,
                ],
            )
            label = f"{case.method} {case.path}"
            seen.setdefault(label, set()).add(answer.status_code)

        asked()
    assert len(seen) >= 17
    return {label for label, statuses in seen.items() if 200 in statuses}


@pytest.mark.slow
def test_no_request_of_the_document_is_a_server_error(serve: Serve, own_index: Path) -> None:
    answered = check(serve, own_index, 300)
    assert {"POST /v1/indexes/{name}/search", "GET /v1/indexes", "GET /healthz"} <= answered


def test_a_few_requests_of_the_document(serve: Serve, own_index: Path) -> None:
    check(serve, own_index, 5)
