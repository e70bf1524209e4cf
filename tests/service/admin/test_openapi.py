"""The OpenAPI document, compared with the routes and responses of the admin API."""

import json

import jsonschema
import msgspec
import pytest

from service.accounts.views import AccountStatus, AccountView, CooldownView
from service.admin.app import routes
from service.admin.feed import Feed
from service.admin.handlers import AdminDeps, AdminHandlers
from service.admin.openapi import document, text
from service.admin.wire import (
    AccountList,
    AdminError,
    AdminErrorBody,
    CheckResult,
    ExportedCredential,
    NewAccount,
    PauseRequest,
    Status,
)
from service.server.shutdown import Shutdown
from tests.conftest import ROOT
from transports.account import Finding, Level, Quota
from transports.accounts.records import CooldownReason
from transports.observer import AccountChange

DOCUMENT = document()


def validator(name):
    schema = {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}
    return jsonschema.Draft202012Validator(schema)


def test_the_committed_openapi_file_matches_the_code():
    assert (ROOT / "docs" / "admin-openapi.json").read_text() == text(), "write it again: make openapi"


async def test_openapi_describes_exactly_the_routes():
    deps = AdminDeps(
        accounts=None,
        records=None,
        routes=None,
        change_feed=None,
        kind="",
        encrypted=True,
        feed=Feed(),
        drain=Shutdown(),
        description=b"",
    )
    routed = {
        (route.path, method) for route in routes(AdminHandlers(deps), deps.drain) for method in route.methods - {"HEAD"}
    }
    described = {(path, method.upper()) for path, item in DOCUMENT["paths"].items() for method in item}
    assert routed == described


def test_openapi_references_resolve_and_operation_ids_are_unique():
    whole = json.dumps(DOCUMENT)
    components = DOCUMENT["components"]["schemas"]
    referred = {word.partition('"')[0] for word in whole.split('"#/components/schemas/')[1:]}
    assert referred <= set(components)
    names = [operation["operationId"] for item in DOCUMENT["paths"].values() for operation in item.values()]
    assert len(set(names)) == len(names)
    for name in components:
        jsonschema.Draft202012Validator.check_schema(components[name])


ROW = AccountView(
    id="one",
    transport="web",
    kind="session",
    in_settings=False,
    state=AccountStatus.COOLING_DOWN,
    cooldowns=(CooldownView(scope="pro/*", reason=CooldownReason.QUOTA, until=1.0),),
    quotas=(Quota(name="pro", total=3, remaining=1),),
)


@pytest.mark.parametrize(
    "value",
    [
        AccountList(accounts=(ROW,)),
        ROW,
        CheckResult(account="one", healthy=True, findings=(Finding(step="page", level=Level.OK, message="well"),)),
        ExportedCredential(account="one", secret="x"),
        NewAccount(id="one", secret="x", options={"concurrency": 3}),
        PauseRequest(reason="why"),
        AdminErrorBody(error=AdminError(code="not_found", message="No.")),
        AccountChange(at=1.0, account="one", transport="web", event="needs_attention", seconds=3.0),
    ],
    ids=lambda value: type(value).__name__,
)
def test_responses_match_the_openapi_schema(value):
    validator(type(value).__name__).validate(json.loads(msgspec.json.encode(value)))


def test_the_openapi_schema_rejects_refused_requests():
    for wrong in (
        {},
        {"id": "a b", "secret": "x"},
        {"id": "x", "secret": ""},
        {"id": "x", "secret": "x", "more": 1},
    ):
        assert list(validator("NewAccount").iter_errors(wrong))
    assert Status.__name__ in DOCUMENT["components"]["schemas"]
