"""Pure tasks on an engine: each is done once its needs are, errors arrive as they were raised, nothing stays behind."""

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from tl_keras import tasks
from tl_keras.errors import InputError

ENGINES = ("local", "processes:2")
FOREVER = 600


def square(number):
    return number * number


def refused(number):
    if number == 3:
        raise InputError("three: expected another number, received 3; leave it out")
    return number


def divided(number):
    return 12 // number


def killed(number):
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def sleeping(folder):
    (Path(folder) / str(os.getpid())).touch()
    time.sleep(FOREVER if "long" in folder else 0)


PREPARED = []


def remembered(cores):
    PREPARED.append(cores)


def seen(number):
    return os.getpid(), tuple(PREPARED)


@pytest.mark.parametrize("engine", ENGINES)
def test_every_item_comes_with_its_result(engine):
    assert dict(tasks.each(engine, square, range(20))) == {number: number * number for number in range(20)}
    assert list(tasks.each(engine, square, [])) == []


@pytest.mark.parametrize("engine", ENGINES)
def test_an_item_waits_until_what_it_needs_has_been_taken(engine):
    needs = {5: (1, 2), 1: (2, 3), 2: (), 3: (99,), 4: (5,)}  # 99 is none of them: it counts as done
    taken = []
    for item, result in tasks.each(engine, square, list(needs), needs=needs.get):
        assert result == item * item
        assert set(needs[item]) - {99} <= set(taken)
        taken.append(item)
    assert sorted(taken) == sorted(needs)


def test_here_items_keep_their_order_but_for_what_they_need():
    needs = {"d": "a", "c": "", "a": "b", "b": ""}
    assert [item for item, _ in tasks.each("local", str, list(needs), needs=needs.get)] == ["b", "a", "d", "c"]


@pytest.mark.parametrize("engine", ENGINES)
def test_items_that_need_each_other_are_refused(engine):
    with pytest.raises(ValueError, match="cycle"):
        tasks.each(engine, square, [1, 2], needs=lambda item: [3 - item])


@pytest.mark.parametrize("engine", ENGINES)
def test_an_error_arrives_as_it_was_raised(engine):
    with pytest.raises(InputError) as told:
        list(tasks.each(engine, refused, range(6)))
    assert type(told.value) is InputError
    assert str(told.value) == "three: expected another number, received 3; leave it out"
    with pytest.raises(ZeroDivisionError):
        list(tasks.each(engine, divided, [1, 0]))
    assert multiprocessing.active_children() == []


def test_processes_are_prepared_with_their_share_of_the_cores():
    found = dict(tasks.each("processes:2", seen, range(8), prepare=remembered))
    assert {prepared for _, prepared in found.values()} == {(max(1, tasks.own_cores() // 2),)}, "each of them once"
    assert os.getpid() not in {process for process, _ in found.values()}
    assert dict(tasks.each("processes:1", seen, [0], prepare=remembered, cores=7))[0][1] == (7,)
    assert dict(tasks.each("local", seen, [0], prepare=remembered))[0] == (os.getpid(), ())


def test_a_killed_process_is_a_clear_error():
    with pytest.raises(RuntimeError, match="--engine processes:2: expected processes that live, received one that"):
        list(tasks.each("processes:2", killed, range(6)))
    assert multiprocessing.active_children() == []


def test_closing_the_iterator_ends_what_is_at_work(tmp_path):
    folders = [tmp_path / name for name in ("short", "long")]
    for folder in folders:
        folder.mkdir()
    found = tasks.each("processes:2", sleeping, [str(folder) for folder in folders])
    assert next(found) == (str(folders[0]), None)
    while not list(folders[1].iterdir()):
        time.sleep(0.01)
    found.close()
    assert multiprocessing.active_children() == []
    with pytest.raises(ProcessLookupError):
        os.kill(int(next(folders[1].iterdir()).name), 0)


@pytest.mark.parametrize(
    "engine", ["", "here", "process:2", "processes:0", "processes:", "processes:²", "local:1", "ray:", "ray: x", "rays"]
)
def test_no_such_engine(engine):
    with pytest.raises(InputError, match=r"--engine: expected local, processes:N or ray\[:ADDRESS\], received"):
        tasks.check(engine)
    with pytest.raises(InputError, match="--engine"):
        tasks.each(engine, square, [1])
