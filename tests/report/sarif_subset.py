"""The part of SARIF 2.1.0 that our files use, as a JSON schema: stricter than the standard's own (nothing else may appear)."""

from __future__ import annotations

from typing import Any


def _object(required: tuple[str, ...], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(required), "properties": properties, "additionalProperties": False}


def _list(items: dict[str, Any], **limits: int) -> dict[str, Any]:
    return {"type": "array", "items": items, **limits}


_TEXT = {"type": "string", "minLength": 1}
_URI = {"type": "string", "pattern": r"^(file:///?)?[A-Za-z0-9._~/%-]+$"}
_LEVEL = {"enum": ["none", "note", "warning", "error"]}
_MESSAGE = _object(("text",), text=_TEXT)
_BAG = {"type": "object"}

_REGION = _object(
    ("startLine",),
    startLine={"type": "integer", "minimum": 1},
    endLine={"type": "integer", "minimum": 1},
    snippet=_object(("text",), text=_TEXT),
)
_LOCATION = _object(
    ("physicalLocation",),
    id={"type": "integer", "minimum": 0},
    message=_MESSAGE,
    physicalLocation=_object(("artifactLocation", "region"), artifactLocation=_object(("uri",), uri=_URI), region=_REGION),
    logicalLocations=_list(_object(("fullyQualifiedName", "kind"), fullyQualifiedName=_TEXT, kind=_TEXT)),
)
_RESULT = {
    **_object(
        ("ruleId", "ruleIndex", "kind", "level", "message", "locations", "partialFingerprints"),
        ruleId={"type": "string", "pattern": "^[A-Z]{3}[0-9]{3}$"},
        ruleIndex={"type": "integer", "minimum": 0},
        kind={"enum": ["notApplicable", "pass", "fail", "review", "open", "informational"]},
        level=_LEVEL,
        message=_MESSAGE,
        locations=_list(_LOCATION, minItems=1, maxItems=1),
        relatedLocations=_list(_LOCATION, minItems=1, maxItems=100),
        partialFingerprints={"type": "object", "additionalProperties": _TEXT, "minProperties": 1},
        properties=_BAG,
    ),
    # 3.27.10: only a failure has a level.
    "if": {"properties": {"kind": {"const": "fail"}}},
    "then": {"properties": {"level": {"enum": ["note", "warning", "error"]}}},
    "else": {"properties": {"level": {"const": "none"}}},
}
_RULE = _object(
    ("id", "name", "shortDescription", "defaultConfiguration"),
    id=_TEXT,
    name={"type": "string", "pattern": "^([A-Z][a-z0-9]*)+$"},
    shortDescription=_MESSAGE,
    fullDescription=_MESSAGE,
    help=_object(("text", "markdown"), text=_TEXT, markdown=_TEXT),
    helpUri={"type": "string", "pattern": "^https://"},
    defaultConfiguration=_object(("level",), level=_LEVEL),
    properties=_object(("tags",), tags=_list(_TEXT, maxItems=10)),
)
_NOTIFICATION = _object(
    ("message", "level"),
    message=_MESSAGE,
    level=_LEVEL,
    locations=_list(_LOCATION),
    associatedRule=_object(("id", "index"), id=_TEXT, index={"type": "integer", "minimum": 0}),
)
_ARTIFACT = _object(
    ("location",),
    location=_object(("uri",), uri=_URI),
    parentIndex={"type": "integer", "minimum": 0},
    length={"type": "integer", "minimum": 0},
    description=_MESSAGE,
)
_RUN = _object(
    ("tool", "invocations", "results", "artifacts", "columnKind", "automationDetails", "properties"),
    tool=_object(
        ("driver",),
        driver=_object(("name", "version", "rules"), name=_TEXT, version=_TEXT, semanticVersion=_TEXT, rules=_list(_RULE)),
    ),
    automationDetails=_object(("id",), id={"type": "string", "pattern": "/$"}),
    columnKind={"const": "unicodeCodePoints"},
    invocations=_list(
        _object(
            ("executionSuccessful", "toolExecutionNotifications"),
            executionSuccessful={"type": "boolean"},
            toolExecutionNotifications=_list(_NOTIFICATION),
        ),
        minItems=1,
        maxItems=1,
    ),
    artifacts=_list(_ARTIFACT),
    results=_list(_RESULT, maxItems=5_000),
    properties=_BAG,
)
SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    **_object(
        ("$schema", "version", "runs"),
        **{"$schema": _TEXT, "version": {"const": "2.1.0"}, "runs": _list(_RUN, minItems=1, maxItems=1)},
    ),
}
