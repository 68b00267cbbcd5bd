"""Paths: the two cases of TensorFlow Serving's http_rest_api_util_test.cc by their names, and what it leaves open."""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tl_keras.errors import InputError
from tl_keras.serving.addresses import VERBS, Address, parse_get, parse_post

RESERVED = "%21%23%24%25%26%27%28%29%2A%2B%2C%2F%3A%3B%3D%3F%40%5B%5D"
PLAIN = "!#$%&'()*+,/:;=?@[]"

TEST_PARSE_MODEL_INFO_FOR_GET = {
    "/v1/models/cat": ("cat", None, None, ""),
    f"/v1/models/cat{RESERVED}": (f"cat{PLAIN}", None, None, ""),
    "/v1/models/cat/versions/99": ("cat", 99, None, ""),
    "/v1/models/cat/labels/latest": ("cat", None, "latest", ""),
    f"/v1/models/cat/labels/latest{RESERVED}": ("cat", None, f"latest{PLAIN}", ""),
    "/v1/models/cat/labels/latest/metadata": ("cat", None, "latest", "metadata"),
    f"/v1/models/cat{RESERVED}/labels/latest{RESERVED}/metadata": (f"cat{PLAIN}", None, f"latest{PLAIN}", "metadata"),
    "/v1/foo": None,
    "/v1/models/cat:predict": None,
    "/v1/models/cat/version/50:predict": None,
}
TEST_PARSE_MODEL_INFO_FOR_POST = {
    f"/v1/models/cat{RESERVED}:predict": (f"cat{PLAIN}", None, None, "predict"),
    "/v1/models/cat/versions/99:predict": ("cat", 99, None, "predict"),
    "/v1/models/cat/labels/latest:predict": ("cat", None, "latest", "predict"),
    f"/v1/models/cat/labels/latest{RESERVED}:predict": ("cat", None, f"latest{PLAIN}", "predict"),
    f"/v1/models/cat{RESERVED}/labels/l{RESERVED}:predict": (f"cat{PLAIN}", None, f"l{PLAIN}", "predict"),
    "/v1/foo": None,
    "/v1/models": None,
    "/v1/models/foo/version/50:predict": None,
    "/v1/models/foo/versions/string:predict": None,
    f"/v1/models/foo/versions/{2**64 - 1}:predict": None,
    "/v1/models/foo/metadata": None,
    "/v1/models/foo/versions/50/labels/some_label:regress": None,
}
OTHER_GETS = {
    "/v1/models/cat/metadata": ("cat", None, None, "metadata"),
    "/v1/models/cat/versions/7/metadata": ("cat", 7, None, "metadata"),
    "/V1/Models/Cat/Versions/7": ("Cat", 7, None, ""),
    f"/v1/models/cat/versions/000{2**63 - 1}": ("cat", 2**63 - 1, None, ""),
    "/v1/models/cat+dog%zz/labels/%C3%A9": ("cat+dog%zz", None, "é", ""),
    "/v1/models/metadata": ("metadata", None, None, ""),
    "/v1/models": None,
    "/v1/models/": None,
    "/v1/models/cat/": None,
    "/v1/models/cat/dog": None,
    "/v1/models/cat/metadata\n": None,
    "/v1/models/cat/labels/%FF": None,
    "/v1/models/%C3": None,
    "/v1/models/cat/versions/-1": None,
    "/v1/models/cat/versions/٣": None,  # a digit, in Arabic
    f"/v1/models/cat/versions/{2**63}": None,
    f"/v1/models/cat/versions/{'9' * 100_000}": None,
    "http://host/v1/models/cat": None,
}
OTHER_POSTS = {
    **{f"/v1/models/cat:{verb}": ("cat", None, None, verb) for verb in VERBS},
    "/v1/models/cat:PREDICT": None,
    "/v1/models/cat:predicted": None,
    "/v1/models/cat": None,
    "/v1/models/:predict": None,
    "/v1/models/cat/labels/:predict": None,
    "/v1/models/cat/versions/some_label:regress": None,
    "/v1/models/cat/label/some_label:regress": None,
    "/v1/models/cat:predict/": None,
}
CASES = [
    *((parse_get, path, parts) for path, parts in (TEST_PARSE_MODEL_INFO_FOR_GET | OTHER_GETS).items()),
    *((parse_post, path, parts) for path, parts in (TEST_PARSE_MODEL_INFO_FOR_POST | OTHER_POSTS).items()),
]


@pytest.mark.parametrize(
    ("parse", "path", "parts"), CASES, ids=[f"{parse.__name__} {path[:60]!a}" for parse, path, _ in CASES]
)
def test_paths_are_read_or_refused(parse, path, parts):
    if parts:
        assert parse(path) == Address(*parts)
    else:
        with pytest.raises(InputError, match=r"^\w+: expected .+, received .+; ") as caught:
            parse(path)
        assert len(str(caught.value)) < 400


@given(st.text(st.characters(codec="utf-8"), min_size=1), st.none() | st.integers(0, 2**63 - 1), st.sampled_from(VERBS))
def test_any_name_survives_a_path(name, version, verb):
    path = f"/v1/models/{quote(name, safe='')}" + ("" if version is None else f"/versions/{version}")
    assert parse_get(path) == Address(name, version, None, "")
    assert parse_post(f"{path}:{verb}") == Address(name, version, None, verb)


@given(st.text() | st.from_regex(r"/v1/models/[^/]*(/versions/[^/]*|/labels/[^/]*)?(:predict|/metadata)?"))
def test_any_path_gives_an_address_or_an_input_error(path):
    for parse in (parse_get, parse_post):
        try:
            assert isinstance(parse(path), Address)
        except InputError as error:
            str(error).encode()
