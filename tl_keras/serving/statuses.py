"""What is said of models: their versions and states, their signatures, and the list for the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tl_keras.serving.store import END, Store, Version


def status(states: Mapping[int, tuple[str, str]]) -> dict[str, Any]:
    """The answer to a question for the status: the state of each version.

    >>> status({1: ("AVAILABLE", "")})["model_version_status"][0]["state"]
    'AVAILABLE'
    """
    return {
        "model_version_status": [
            {
                "version": str(number),
                "state": state,
                "status": {"error_code": "UNKNOWN" if state == END else "OK", "error_message": error},
            }
            for number, (state, error) in states.items()
        ]
    }


def metadata(model: str, version: Version) -> dict[str, Any]:
    """The answer to a question for the metadata: the signatures of a version."""
    spec = {"name": model, "signature_name": "", "version": str(version.number)}
    return {"model_spec": spec, "metadata": version.loaded.metadata}


def models(store: Store) -> dict[str, Any]:
    """The list of models: of each its versions, and what the newest that answers says of its images."""
    answering = store.answering()
    return {
        "models": [
            {"name": name, "versions": _versions(store, name, states), **_images(answering.get(name, []))}
            for name, states in store.states().items()
        ]
    }


def _versions(store: Store, name: str, states: Mapping[int, tuple[str, str]]) -> list[dict[str, Any]]:
    labels = store.labels.get(name, {})
    return [
        {
            "version": str(number),
            "state": state,
            "labels": sorted(label for label, wanted in labels.items() if wanted == number),
        }
        for number, (state, _) in states.items()
    ]


def _images(versions: list[Version]) -> dict[str, Any]:
    told = versions[0].loaded.images if versions else None
    if told is None:
        return {"classes": None, "view": None, "explains": False}
    view = {"size": list(told.view.size), "channels": told.view.channels}
    return {"classes": list(told.class_names), "view": view, "explains": told.explains}
