"""The job for a cluster of Kubernetes: a command line that is understood, by the versions that are tested here."""

import importlib.metadata
import importlib.util
import shlex

import pytest

import tl_keras
from tests.isolation import ROOT
from tl_keras import command_line
from tl_keras.commands import extract


@pytest.fixture(scope="module")
def spec():
    yaml = pytest.importorskip("yaml", reason="needs pyyaml")
    return yaml.safe_load((ROOT / "kuberay-job.yaml").read_text())["spec"]


def test_the_entrypoint_is_understood(spec):
    program, *arguments = shlex.split(spec["entrypoint"])[2:]
    assert (program, arguments[0]) == ("tl_keras.run", "extract")
    given = vars(command_line._parser("extract", "", extract).parse_args(arguments[1:]))
    assert given["engine"] == "ray:auto" and given["to"].startswith("s3://")
    assert set(given) <= set(extract.Settings.__dataclass_fields__)


def test_all_machines_have_one_image_and_the_tested_versions(spec):
    cluster = spec["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    images = {box["image"] for group in groups for box in group["template"]["spec"]["containers"]}
    assert {image.partition(":")[2] for image in images} == {tl_keras.__version__}
    if importlib.util.find_spec("ray"):
        assert cluster["rayVersion"] == importlib.metadata.version("ray")
