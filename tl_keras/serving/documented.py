"""The server's own description, as /openapi.json: every path, body and answer, and what a request is refused with."""

from __future__ import annotations

from typing import Any

TEXT = {"type": "string"}
FLAG = {"type": "boolean"}
WHOLE = {"type": "integer", "minimum": 0}
ANY: dict[str, Any] = {}
STATES = ["START", "LOADING", "AVAILABLE", "UNLOADING", "END"]
REFUSALS = {
    400: "The request is not as the protocol or the model has it",
    404: "There is no such model or version",
    408: "The body came too slowly",
    413: "The body is too large",
    429: "The server has as much to do as it takes",
}
PLACES = {"": [], "/versions/{version}": ["version"], "/labels/{label}": ["label"]}
PARAMETERS = {
    "model": (TEXT | {"minLength": 1, "pattern": "^[A-Za-z0-9_.-]+$"}, "The name of the model"),
    "version": (WHOLE | {"maximum": 2**63 - 1}, "The number of a version; by default the newest that answers"),
    "label": (TEXT | {"minLength": 1, "pattern": "^[A-Za-z0-9_.-]+$"}, "The label of a version"),
}


def document(version: str) -> dict[str, Any]:
    """The OpenAPI document.

    >>> document("1")["paths"]["/healthz"]["get"]["responses"]["200"]["description"]
    'All models that were there at the start have been loaded'
    """
    paths: dict[str, Any] = {
        "/v1/models": {"get": _operation("listModels", "All models", [], {200: ("The models", "Models")}, ())},
        "/healthz": {"get": _health()},
        "/metrics": {"get": _plain("metrics", "Counters and measures for Prometheus", "text/plain")},
        "/": {"get": _plain("page", "A page to try the models", "text/html")},
    }
    for place, names in PLACES.items():
        where, known = f"/v1/models/{{model}}{place}", ["model", *names]
        suffix = "".join(name.title() for name in names)
        paths[where] = {"get": _told(f"status{suffix}", "The state of its versions", known, "Status")}
        paths[f"{where}/metadata"] = {"get": _told(f"metadata{suffix}", "The signatures", known, "Metadata")}
        for verb, (what, asked, answer) in VERBS.items():
            paths[f"{where}:{verb}"] = {"post": _posted(f"{verb}{suffix}", what, known, asked, answer)}
    return {
        "openapi": "3.1.0",
        "info": {"title": "tl-keras: models that answer", "version": version},
        "paths": paths,
        "components": {"schemas": SCHEMAS},
    }


VERBS = {
    "predict": ("What a signature answers to tensors or images", "PredictRequest", "PredictAnswer"),
    "classify": ("Classes and scores of examples", "ExamplesRequest", "ClassifyAnswer"),
    "regress": ("A number for each example", "ExamplesRequest", "RegressAnswer"),
    "explain": ("Where the network looked, drawn on each image", "ExplainRequest", "ExplainAnswer"),
}


def _operation(name: str, what: str, known: list[str], answers: dict[int, tuple[str, str]], refusals) -> dict[str, Any]:
    found = {**answers, **{code: (REFUSALS[code], "Error") for code in refusals}}
    return {
        "operationId": name,
        "summary": what,
        "parameters": [
            {"name": each, "in": "path", "required": True, "schema": PARAMETERS[each][0],
             "description": PARAMETERS[each][1]} for each in known
        ],
        "responses": {
            str(code): {"description": text, "content": {"application/json": {"schema": _reference(schema)}}}
            for code, (text, schema) in found.items()
        },
    }  # fmt: skip


def _told(name: str, what: str, known: list[str], answer: str) -> dict[str, Any]:
    return _operation(name, what, known, {200: (what, answer)}, (400, 404))


def _posted(name: str, what: str, known: list[str], asked: str, answer: str) -> dict[str, Any]:
    operation = _operation(name, what, known, {200: (what, answer)}, (400, 404, 408, 413, 429))
    body = {"required": True, "content": {"application/json": {"schema": _reference(asked)}}}
    return operation | {"requestBody": body}


def _health() -> dict[str, Any]:
    known = {
        200: ("All models that were there at the start have been loaded", "Health"),
        503: ("They are being loaded", "Error"),
    }
    return _operation("health", "Whether the server answers", [], known, ())


def _plain(name: str, what: str, kind: str) -> dict[str, Any]:
    return {
        "operationId": name,
        "summary": what,
        "responses": {"200": {"description": what, "content": {kind: {"schema": TEXT}}}},
    }


def _reference(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"type": "object", "properties": {**required, **(optional or {})}, "required": list(required)}


def _list(items: Any, **more: Any) -> dict[str, Any]:
    return {"type": "array", "items": items, **more}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


SIGNATURE = {"signature_name": TEXT | {"description": "By default serving_default"}}
ROWS = _object({"instances": _list(ANY, minItems=1)}, SIGNATURE) | {"not": {"required": ["inputs"]}}
COLUMNS = _object({"inputs": ANY}, SIGNATURE) | {"not": {"required": ["instances"]}}
EXAMPLE = {"type": "object"}
SCHEMAS: dict[str, Any] = {
    "Error": _object({"error": TEXT}),
    "Health": _object({"status": {"const": "ok"}}),
    "PredictRequest": {
        "oneOf": [ROWS, COLUMNS],
        "description": 'Tensors in rows or in columns; bytes, such as image files, as {"b64": "..."}',
    },
    "PredictAnswer": {"anyOf": [_object({"predictions": _list(ANY)}), _object({"outputs": ANY})]},
    "ExamplesRequest": _object({"examples": _list(EXAMPLE, minItems=1)}, SIGNATURE | {"context": EXAMPLE}),
    "ClassifyAnswer": _object({"results": _list(_list({"type": "array", "prefixItems": [TEXT, {"type": "number"}]}))}),
    "RegressAnswer": _object({"results": _list({"type": "number"})}),
    "ExplainRequest": {
        "allOf": [_reference("PredictRequest"), {"properties": {"class_index": _or_null(WHOLE)}}],
        "description": "As for predict; class_index: which class is asked about, by default the predicted one of each",
    },
    "ExplainAnswer": _object(
        {
            "explanations": _list(
                _object({"class": TEXT, "class_index": WHOLE, "overlay": TEXT | {"contentEncoding": "base64"}})
            )
        }
    ),
    "Status": _object(
        {
            "model_version_status": _list(
                _object(
                    {
                        "version": TEXT,
                        "state": {"enum": STATES},
                        "status": _object({"error_code": TEXT, "error_message": TEXT}),
                    }
                )
            )
        }
    ),
    "Metadata": _object(
        {
            "model_spec": _object({"name": TEXT, "signature_name": TEXT, "version": TEXT}),
            "metadata": _object({"signature_def": _object({"signature_def": {"type": "object"}})}),
        }
    ),
    "Models": _object(
        {
            "models": _list(
                _object(
                    {
                        "name": TEXT,
                        "versions": _list(_object({"version": TEXT, "state": {"enum": STATES}, "labels": _list(TEXT)})),
                        "classes": _or_null(_list(TEXT)),
                        "view": _or_null(_object({"size": _list(WHOLE), "channels": WHOLE})),
                        "explains": FLAG,
                    }
                )
            )
        }
    ),
}
