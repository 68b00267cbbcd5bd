"""What TensorBoard reads of finished trials: their files read back by its own code say what the records say."""

import os
from collections import Counter
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing import data_provider, event_accumulator, plugin_event_multiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.hparams import api_pb2, backend_context, get_experiment, list_session_groups
from tensorboard.plugins.projector import projector_plugin
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig
from tensorboard.util import tensor_util

from tests.fresh import python
from tests.made_up_records import made_up_arms, made_up_record, write_run
from tl_keras import records
from tl_keras.data.splits import Split
from tl_keras.data.view import View
from tl_keras.errors import InputError
from tl_keras.evaluation.arms import arms_of
from tl_keras.models import model_file, networks
from tl_keras.reporting import tensorboard, tensorboard_projector
from tl_keras.run_folder import RunFolder
from tl_keras.study import projection
from tl_keras.training.events import Events

NAMES = ("cat", "dog", "Größe " * 20)


@pytest.fixture
def out(tmp_path):
    return RunFolder.create(tmp_path / "run", {"experiment": "try"})


def with_features(record, count=30, width=5, side=12):
    """The record with what a network would have read of some of its images."""
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (len(record.test.ids), side, side, record.thumbnails.images.shape[3]), "uint8")
    split = Split(images, record.test.labels, record.class_names, record.test.ids)
    measured, arrays = projection.of(split, lambda _, rows: rng.normal(size=(len(rows), width)).astype("float32"))
    kept = {name: array[:count] for name, array in arrays.items()}
    return replace(record, measured={**record.measured, **measured}, arrays=kept)


def written(out, *found):
    write_run(arms_of(found), out)
    tensorboard.write(out, records.read_all(out))


def accumulated(out, name="A"):
    return event_accumulator.EventAccumulator(str(out.tensorboard / name / "record"), {"tensors": 0}).Reload()


def pictures(events, tag):
    """The PNG files under a tag, decoded; those of one tag have the size that it says."""
    (event,) = events.Tensors(tag)
    width, height, *pngs = tensor_util.make_ndarray(event.tensor_proto).tolist()
    decoded = [np.asarray(Image.open(BytesIO(png), formats=["PNG"])) for png in pngs]
    assert {picture.shape[:2] for picture in decoded} == {(int(height), int(width))}
    return decoded


def files(out):
    return {path.relative_to(out.path): path.read_bytes() for path in out.tensorboard.rglob("*") if path.is_file()}


def test_metrics_are_scalars_at_the_last_epoch(out):
    record = made_up_record(epochs=7)
    written(out, record)
    events = accumulated(out)
    expected = {"test_accuracy": record.test.accuracy, "test_loss": record.test.loss, "training_seconds": 12.5,
                "train_accuracy": record.train_accuracy}  # fmt: skip
    assert sorted(events.Tags()["scalars"]) == sorted(expected)
    for tag, value in expected.items():
        (event,) = events.Scalars(tag)
        assert event.step == 7 and event.value == pytest.approx(value)


@pytest.mark.parametrize("channels, side, names", [(3, 16, NAMES), (1, 96, 12), (3, 250, 2)])
def test_every_kept_image_is_shown_among_the_right_or_the_wrong(out, channels, side, names):
    record = made_up_record(channels=channels, side=side, classes=names)
    written(out, record)
    events, correct = accumulated(out), record.test.correct[record.thumbnails.rows]
    right, wrong = (pictures(events, f"test_images/{kind}") for kind in ("right", "wrong"))
    assert (len(right), len(wrong)) == (correct.sum(), (~correct).sum())
    for shown, colour in ((right, (0, 121, 79)), (wrong, (196, 50, 10))):
        assert all((picture[:100, :3] == colour).all() for picture in shown), "a frame tells them apart"


def test_the_confusion_matrix_is_the_reports_without_its_margins(out):
    written(out, made_up_record(classes=2))
    (matrix,) = pictures(accumulated(out), "confusion_matrix")
    assert (matrix[:10] == 255).all() and (matrix[:, :10] == 255).all()
    assert (matrix[20:-20] < 200).any(axis=2).mean() > 0.2, "the matrix fills the picture"


def test_hidden_classes_have_images_but_no_accuracy(out):
    record = made_up_record()
    hidden = replace(record.test, labels=np.full_like(record.test.labels, -1))
    record = with_features(replace(record, predictions={"test": hidden}))
    written(out, record)
    tags = accumulated(out).Tags()
    assert sorted(tags["scalars"]) == ["train_accuracy", "training_seconds"]
    assert [tag for tag in tags["tensors"] if not tag.startswith("_hparams_")] == ["test_images/hidden"]
    lines = (out.tensorboard / "A/record/metadata.tsv").read_text().splitlines()
    assert {line.split("\t")[2] for line in lines[1:]} == {""}


def test_the_graph_is_that_of_the_kept_network(out):
    network = networks.build("cnn", 3, View((16, 16)), "none")
    model_file.save(network, out.model("A"), View((16, 16)), ("a", "b", "c"))
    written(out, made_up_record("A"), made_up_record("B"))
    assert [node.name for node in accumulated(out).Graph().node] == [layer.name for layer in network.layers]
    assert not accumulated(out, "B").Tags()["graph"], "no network, no graph"


def test_a_damaged_network_is_told(out):
    out.model("A").parent.mkdir()
    out.model("A").write_bytes(b"PK")
    with pytest.raises(InputError, match=r"A\.keras: expected a network that Keras saved"):
        written(out, made_up_record("A"))


def of_trial(record, network, strategy, recipe, found=None):
    trial = {"kind": "tl_keras.study.trial.Trial", "network": network, "recipe": recipe,
             "strategy": {"kind": "Strategy", "name": strategy, "title": "t", "phases": []}, "augment": None,
             "keep": True, "images": {"kind": "x.ByClass", "data": "digits", "classes": [1, 7]}}  # fmt: skip
    return replace(record, trial=record.trial | trial, measured={"learning_rate": found} if found else {})


def test_the_hparams_tab_shows_what_trials_differ_in_and_what_they_came_to(out):
    recipe = {"kind": "x.Recipe", "epochs": 3, "batch_size": 16, "learning_rate": 0.5, "seed": 9, "warm": True}
    trials = [
        of_trial(made_up_record("A"), "cnn", "scratch", recipe),
        of_trial(made_up_record("A", 1), "cnn", "scratch", recipe),
        of_trial(made_up_record("B"), "cnn", "probe", {**recipe, "batch_size": 8, "learning_rate": None}, found=0.25),
    ]
    written(out, *trials)
    multiplexer = plugin_event_multiplexer.EventMultiplexer().AddRunsFromDirectory(str(out.tensorboard)).Reload()
    provider = data_provider.MultiplexerDataProvider(multiplexer, str(out.tensorboard))
    context = backend_context.Context(type("Tensorboard", (), {"data_provider": provider}))
    asked = RequestContext(), ""
    experiment = get_experiment.Handler(
        asked[0], context, asked[1], api_pb2.GetExperimentRequest(include_metrics=True)
    ).run()
    shown = {info.name: info.differs for info in experiment.hparam_infos}
    assert shown == {"arm": True, "network": False, "strategy": True, "seed": True, "learning_rate": True,
                     "batch_size": True}  # fmt: skip
    request = api_pb2.ListSessionGroupsRequest(
        slice_size=10, allowed_statuses=[api_pb2.STATUS_SUCCESS],
        col_params=[api_pb2.ColParams(hparam=name, include_in_result=True) for name in shown]
        + [api_pb2.ColParams(metric=info.name, include_in_result=True) for info in experiment.metric_infos],
    )  # fmt: skip
    groups = list_session_groups.Handler(asked[0], context, asked[1], request).run().session_groups
    found = {group.name: {name: group.hparams[name] for name in shown} for group in groups}
    assert set(found) == {"A", "A_seed1", "B"}
    assert found["B"]["learning_rate"].number_value == 0.25 and found["A"]["learning_rate"].number_value == 0.5
    assert found["A_seed1"]["seed"].number_value == 1 and found["A"]["batch_size"].number_value == 16
    assert (found["B"]["strategy"].string_value, found["B"]["network"].string_value) == ("probe", "cnn")
    for record in trials:
        (group,) = (group for group in groups if group.name == record.name)
        said = {value.name.tag: value.value for value in group.metric_values}
        assert said == pytest.approx(tensorboard.metrics(record), rel=1e-6)


def test_what_all_trials_have_is_left_out():
    settings = [{"seed": 0, "wide": True}, {"seed": 0, "wide": 1}, {"seed": 0}]
    assert tensorboard.differing(settings) == settings
    assert tensorboard.differing([{"seed": 0, "epochs": 2}] * 2) == [{"seed": 0}] * 2


@pytest.mark.parametrize("channels", [1, 3])
def test_the_projector_has_a_vector_a_line_and_a_picture_of_each_image(out, channels):
    record = with_features(made_up_record(channels=channels, classes=NAMES))
    written(out, record)
    folder, features = out.tensorboard / "A/record", record.arrays["projector.features"]
    config = ProjectorConfig()
    projector_plugin.text_format.Parse((folder / "projector_config.pbtxt").read_text(), config)
    (part,) = config.embeddings
    vectors = projector_plugin._read_tensor_tsv_file(str(folder / part.tensor_path))
    assert list(part.tensor_shape) == list(vectors.shape) == [30, 5]
    np.testing.assert_allclose(vectors, features, rtol=1e-6)
    header, *lines = (folder / part.metadata_path).read_text().splitlines()
    assert len(lines) == 30 and {line.count("\t") for line in (header, *lines)} == {4}
    rows = record.arrays["projector.rows"]
    assert [line.split("\t")[4] for line in lines] == record.test.ids[rows].tolist()
    right = [{"yes": True, "no": False}[line.split("\t")[2]] for line in lines]
    assert right == record.test.correct[rows].tolist()
    with Image.open(folder / part.sprite.image_path) as sheet:
        width, height = part.sprite.single_image_dim
        across = sheet.width // width
        assert across * (sheet.height // height) >= 30
        for number, image in enumerate(record.arrays["projector.images"]):
            down, along = divmod(number, across)
            place = (along * width, down * height, (along + 1) * width, (down + 1) * height)
            np.testing.assert_array_equal(np.asarray(sheet.crop(place)).reshape(image.shape), image)


def test_names_cannot_break_the_table(out):
    record = with_features(made_up_record(classes=["a\tb", "c\nd", "e"]))
    lines = tensorboard_projector.files(record)["metadata.tsv"].decode().splitlines()
    assert len(lines) == 31 and {line.count("\t") for line in lines} == {4}
    assert {line.split("\t")[0] for line in lines[1:]} == {"a b", "c d", "e"}


def test_reduced_features_say_so(out):
    record = made_up_record()
    measured = {"projector": {"width": 1280, "variance": 0.931}}
    written(out, replace(with_features(record), measured=measured))
    said = (out.tensorboard / "A/record/projector_config.pbtxt").read_text()
    assert "features (5 principal components of 1280: 93% of the variance)" in said


def test_a_record_of_before_has_all_but_a_projector(out):
    written(out, made_up_record())
    assert [path.name for path in (out.tensorboard / "A/record").iterdir()] == [tensorboard.EVENTS]


@pytest.mark.parametrize(
    "name, other",
    [("rows", np.arange(3)), ("rows", np.full(30, 999)), ("features", np.zeros(30)),
     ("features", np.zeros((30, 2), int)), ("images", np.zeros((30, 4, 4, 3))),
     ("images", np.zeros((30, 4, 4, 2), "uint8"))],
)  # fmt: skip
def test_features_of_other_images_are_refused(name, other):
    record = with_features(made_up_record())
    record.arrays[f"projector.{name}"] = other
    with pytest.raises(InputError, match="A: expected features and pictures of the same test images, received others"):
        tensorboard_projector.files(record)


def test_written_again_all_stands_once_and_the_curves_of_training_stay(out):
    training = Events(out.tensorboard / "A")
    training.write({"epoch": 1, "accuracy": 0.5, "val_accuracy": 0.25})
    training.close()
    curves = files(out)
    written(out, with_features(made_up_record()))
    once = files(out)
    tensorboard.write(out, records.read_all(out))
    assert files(out) == once and curves.items() <= once.items() and len(once) == len(curves) + 5
    counts = Counter(tag for tags in accumulated(out).Tags().values() if isinstance(tags, list) for tag in tags)
    assert set(counts.values()) == {1}


def test_a_folder_that_cannot_be_written_is_an_error_of_the_system(out):
    out.tensorboard.write_text("in the way")
    with pytest.raises(OSError):
        written(out, made_up_record())


def test_nothing_half_written_stays(out, monkeypatch):
    write_run(arms_of([with_features(made_up_record())]), out)

    def stopped(*paths):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", stopped)
    with pytest.raises(OSError, match="No space left"):
        tensorboard.write(out, records.read_all(out))
    assert files(out) == {}


def test_no_tensorflow_is_imported(out):
    model_file.save(
        networks.build("cnn", 3, View((16, 16)), "none"), out.model("arm_0"), View((16, 16)), ("a", "b", "c")
    )
    write_run(made_up_arms(2), out)
    done = python("-c", f"""
import sys
from pathlib import Path
from tl_keras import records
from tl_keras.reporting import tensorboard
from tl_keras.run_folder import RunFolder
early = sorted(name for name in sys.modules if name.split(".")[0] == "tensorboard")
out = RunFolder(Path({str(out.path)!r}))
tensorboard.write(out, records.read_all(out))
print(early, sorted({{"tensorflow", "keras"}} & set(sys.modules)))
""")  # fmt: skip
    assert done.stdout.splitlines()[-1:] == ["[] []"], done.stderr
    assert accumulated(out, "arm_0").Graph().node
