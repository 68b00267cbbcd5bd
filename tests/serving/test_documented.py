"""The server does what its openapi.json says, whatever Schemathesis sends: every answer, and no failure among them."""

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import load_all_checks
from schemathesis.core.parameters import ParameterLocation
from schemathesis.specs.openapi.checks import positive_data_acceptance

from tests.serving import models
from tests.serving.conftest import asking
from tl_keras.serving import documented

OPERATIONS = [(path, method) for path, known in documented.document("0")["paths"].items() for method in known]
SETTINGS = settings(
    max_examples=25, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)
ALL = [{}, *({"model": model, "version": 1, "label": "stable"} for model in ("line", "cats"))]

load_all_checks()


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    models.half_plus_two(folder / "line/1")
    models.image_model(folder / "cats")
    labels = {"line": {"stable": 1}, "cats": {"stable": 1}}
    with asking(folder, labels=labels) as client:
        yield schemathesis.openapi.from_asgi("/openapi.json", client.app)


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_what_is_as_documented_is_answered_as_documented(api, path, method):
    """Of models that there are, and of others."""

    @SETTINGS
    @given(api[path][method].as_strategy())
    def check(case):
        for names in ALL if case.path_parameters else [{}]:
            case.path_parameters = {key: names.get(key, value) for key, value in case.path_parameters.items()} or None
            # What a model takes is no part of the document: a body that is as documented may still be no image.
            case.call_and_validate(excluded_checks=[positive_data_acceptance])

    check()


@pytest.mark.parametrize("path", [path for path, method in OPERATIONS if method == "post"])
def test_what_is_not_as_documented_is_refused(api, path):
    @SETTINGS
    @given(api[path]["post"].as_strategy(generation_mode=GenerationMode.NEGATIVE))
    def check(case):
        wrong = case.meta.components.get(ParameterLocation.BODY)
        for names in ALL if wrong and wrong.mode.is_negative else [{}]:
            case.path_parameters = {key: names.get(key, value) for key, value in case.path_parameters.items()}
            case.call_and_validate()

    check()
