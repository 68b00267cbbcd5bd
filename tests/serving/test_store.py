"""Versions come, change, break and go while models answer; what is broken is told once and tried when it changes."""

import shutil

import numpy as np
import pytest

from tests.serving import models
from tl_keras.serving.addresses import Address
from tl_keras.serving.refusals import Refused
from tl_keras.serving.store import Store


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Folders of y = x / 2 + n by n."""
    folder = tmp_path_factory.mktemp("made")
    return {number: models.half_plus_two(folder / str(number), float(number)) for number in (1, 2, 3)}


@pytest.fixture
def saved(tmp_path):
    return tmp_path / "saved"


@pytest.fixture
def store(saved):
    saved.mkdir()
    stores = []

    def make(**options):
        stores.append(Store(saved, **options))
        return stores[-1]

    yield make
    for each in stores:
        each.close()


def copied(made, number, to):
    """As a careful copy is made: elsewhere, then moved."""
    to.parent.mkdir(exist_ok=True)
    unfinished = to.parent / f".unfinished-{to.name}"
    shutil.copytree(made[number], unfinished)
    unfinished.rename(to)


def at(version=None, label=None):
    return Address("line", version, label, "predict")


def answered(store, **asked):
    """What the line gives at 0."""
    with store.hold(at(**asked)) as version:
        return version.batcher.submit("serving_default", {"x": np.zeros(1, "float32")}).result(10)["y"].tolist()[0]


def looks(store, times=2):
    """So often that what has changed since the last look is taken."""
    for _ in range(times):
        store.look()


def states(store):
    return {number: state for number, (state, _) in store.states().get("line", {}).items()}


def test_the_newest_versions_answer_and_the_newest_by_default(made, saved, store):
    for number in made:
        copied(made, number, saved / "line" / str(number))
    one = store(keep=2)
    assert not one.ready
    one.look()
    assert one.ready and states(one) == {3: "AVAILABLE", 2: "AVAILABLE"}
    assert (answered(one), answered(one, version=2)) == (3, 2)
    with pytest.raises(Refused, match="version 1") as refused:
        answered(one, version=1)
    assert refused.value.status == 404


def test_labels_name_versions_and_keep_them(made, saved, store):
    for number in made:
        copied(made, number, saved / "line" / str(number))
    one = store(keep=1, labels={"line": {"stable": 1, "canary": 3, "gone": 9}})
    one.look()
    assert states(one) == {3: "AVAILABLE", 1: "AVAILABLE"}
    assert (answered(one, label="stable"), answered(one, label="canary"), answered(one)) == (1, 3, 3)
    for label, status in (("gone", 404), ("none", 400)):
        with pytest.raises(Refused) as refused:
            answered(one, label=label)
        assert refused.value.status == status


def test_a_new_version_takes_over_and_the_old_one_goes_when_nobody_holds_it(made, saved, store, capsys):
    copied(made, 1, saved / "line/1")
    one = store(keep=1)
    one.look()
    with one.hold(at()) as held:
        copied(made, 2, saved / "line/2")
        looks(one)
        assert (states(one), answered(one)) == ({2: "AVAILABLE"}, 2)
        asked = held.batcher.submit("serving_default", {"x": np.zeros(1, "float32")})
        assert asked.result(10)["y"] == [1], "who holds the old one is still answered"
    held.batcher._thread.join(10)
    assert not held.batcher._thread.is_alive()
    assert "line 1: no longer served" in capsys.readouterr().out


def test_what_is_still_being_written_is_waited_for(made, saved, store, capsys):
    one = store()
    one.look()
    version = saved / "line/1"
    version.mkdir(parents=True)
    one.look()
    for name in ("saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001"):
        (version / name).parent.mkdir(exist_ok=True)
        shutil.copy(made[1] / name, version / name)
        one.look()
        assert states(one) == {1: "LOADING"}
    one.look()
    assert (states(one), answered(one)) == ({1: "AVAILABLE"}, 1)
    assert capsys.readouterr().err == ""


def break_graph(version):
    (version / "saved_model.pb").write_bytes(b"\x00\x01no graph")


def cut_graph(version):
    graph = version / "saved_model.pb"
    graph.write_bytes(graph.read_bytes()[:-100])


def break_weights(version):
    weights = next(version.glob("variables/*.data*"))
    weights.write_bytes(b"\xff" * weights.stat().st_size)


BROKEN = {
    "without a graph": lambda version: (version / "saved_model.pb").unlink(),
    "with another graph": break_graph,
    "with a part of its graph": cut_graph,
    "with other weights": break_weights,
    "without weights": lambda version: shutil.rmtree(version / "variables"),
    "empty": lambda version: [shutil.rmtree(version), version.mkdir()],
}


@pytest.mark.parametrize("breaks", BROKEN.values(), ids=BROKEN)
def test_a_damaged_version_is_told_once_and_the_old_one_answers(made, saved, store, capsys, breaks):
    copied(made, 1, saved / "line/1")
    failed = []
    one = store(keep=1, failed=failed.append)
    one.look()
    shutil.copytree(made[2], saved / ".here")
    breaks(saved / ".here")
    (saved / ".here").rename(saved / "line/2")
    looks(one, 4)
    assert states(one) == {2: "END", 1: "AVAILABLE"} and answered(one) == 1
    assert failed == ["line"]
    (told,) = capsys.readouterr().err.splitlines()
    message = one.states()["line"][2][1]
    assert told == f"line 2: not served, {message}" and message.startswith("version: expected a")

    shutil.rmtree(saved / "line/2")
    copied(made, 2, saved / "line/2")
    looks(one)
    assert (states(one), answered(one)) == ({2: "AVAILABLE"}, 2), "it is tried again when its files change"


def test_a_version_that_breaks_later_goes_on_answering_until_it_goes(made, saved, store, capsys):
    copied(made, 1, saved / "line/1")
    one = store()
    one.look()
    break_graph(saved / "line/1")
    looks(one, 3)
    assert (states(one), answered(one)) == ({1: "AVAILABLE"}, 1)
    assert len(capsys.readouterr().err.splitlines()) == 1
    shutil.rmtree(saved / "line/1")
    one.look()
    assert states(one) == {}
    with pytest.raises(Refused):
        answered(one)


def test_other_files_under_one_number_take_over(made, saved, store):
    copied(made, 1, saved / "line/1")
    one = store()
    one.look()
    (saved / "line/1").rename(saved / "line/old")
    copied(made, 3, saved / "line/1")
    assert answered(one) == 1
    looks(one)
    assert answered(one) == 3


def test_models_come_and_go(made, saved, store):
    one = store()
    one.look()
    assert one.states() == {}
    with pytest.raises(Refused):
        one.status(at())
    copied(made, 1, saved / "line/1")
    looks(one)
    assert answered(one) == 1 and list(one.answering()) == ["line"]
    shutil.rmtree(saved / "line")
    one.look()
    assert one.states() == {} and not one.knows("line")


def test_it_looks_by_itself_until_it_is_closed(made, saved, store):
    one = store()
    one.look()
    one.watch(0.01)
    copied(made, 1, saved / "line/1")
    for _ in range(1000):
        if states(one) == {1: "AVAILABLE"}:
            break
        one._stop.wait(0.01)
    assert answered(one) == 1
    one.close()
    assert not one._watcher.is_alive()
