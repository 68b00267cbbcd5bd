"""Requests that wait run together, what fails together is tried alone, and nobody waits for ever."""

import threading
from concurrent.futures import CancelledError

import numpy as np
import pytest

from tl_keras.serving.batcher import Batcher


class Network:
    """y = x / 2; negative numbers are refused. It stands still while `held` is, and remembers what ran together."""

    def __init__(self):
        self.held, self.started = threading.Lock(), threading.Event()
        self.ran = []

    def __call__(self, signature, inputs):
        self.started.set()
        with self.held:
            self.ran.append((signature, inputs["x"].tolist()))
            if (inputs["x"] < 0).any():
                raise ValueError("below zero")
            return {"y": inputs["x"] / 2}


@pytest.fixture
def network():
    return Network()


@pytest.fixture
def batcher(network):
    batcher = Batcher(network, largest=4)
    yield batcher
    batcher.close()


def rows(*values):
    return {"x": np.array(values, "float32")}


def submitted_while_busy(network, batcher, *requests):
    """What is answered to requests that came while the first one ran."""
    with network.held:
        first = batcher.submit("half", rows(100))
        assert network.started.wait(10)
        answers = [batcher.submit(*request) for request in requests]
    assert first.result(10)["y"].tolist() == [50]
    return answers


def values(answers):
    return [answer.result(10)["y"].tolist() for answer in answers]


def test_what_waits_runs_together_up_to_the_largest_batch(network, batcher):
    answers = submitted_while_busy(network, batcher, *(("half", rows(each, each + 1)) for each in (2, 4, 6, 8, 10)))
    assert values(answers) == [[each / 2, each / 2 + 0.5] for each in (2, 4, 6, 8, 10)]
    assert [len(ran) for _, ran in network.ran] == [1, 4, 4, 2]


def test_only_what_is_alike_runs_together_and_nobody_is_overtaken_for_long(network, batcher):
    wide = {"x": np.ones((1, 2), "float32")}
    answers = submitted_while_busy(
        network, batcher, ("half", rows(2)), ("other", rows(4)), ("half", wide), ("half", rows(6)), ("other", rows(8))
    )
    assert values(answers) == [[1], [2], [[0.5, 0.5]], [3], [4]]
    assert network.ran[1:] == [("half", [2, 6]), ("other", [4, 8]), ("half", [[1, 1]])]


def test_a_request_that_cannot_share_runs_alone(network, batcher):
    answers = submitted_while_busy(network, batcher, *[("half", rows(2), False)] * 2, ("half", rows(*range(9))))
    assert values(answers) == [[1], [1], [each / 2 for each in range(9)]], "a large one is not parted"
    assert [len(ran) for _, ran in network.ran] == [1, 1, 1, 9]


def test_an_error_hits_only_who_made_it(network, batcher):
    answers = submitted_while_busy(network, batcher, *(("half", rows(each)) for each in (2, -1, 4)))
    with pytest.raises(ValueError, match="below zero"):
        answers[1].result(10)
    assert values([answers[0], answers[2]]) == [[1], [2]]
    assert [ran for _, ran in network.ran[1:]] == [[2, -1, 4], [2], [-1], [4]]
    assert batcher.submit("half", rows(8)).result(10)["y"].tolist() == [4], "the thread goes on"


def test_a_network_that_does_not_answer_row_by_row_answers_each_request_alone():
    batcher = Batcher(network := Network(), largest=4)
    batcher._run_signature = lambda signature, inputs: {"y": network(signature, inputs)["y"].sum(keepdims=True)}
    answers = submitted_while_busy(network, batcher, ("half", rows(2)), ("half", rows(4)))
    assert values(answers) == [[1], [2]]
    batcher.close()


def test_what_nobody_waits_for_any_more_does_not_run(network, batcher):
    with network.held:
        batcher.submit("half", rows(1))
        assert network.started.wait(10)
        left, kept = batcher.submit("half", rows(2)), batcher.submit("half", rows(4))
        assert batcher.waiting == 2
        assert left.cancel()
    assert kept.result(10)["y"].tolist() == [2]
    assert [ran for _, ran in network.ran] == [[1], [4]]
    with pytest.raises(CancelledError):
        left.result()


def test_after_the_end_what_was_asked_before_is_answered(network):
    batcher = Batcher(network)
    with network.held:
        answers = [batcher.submit("half", rows(each)) for each in (2, 4)]
        batcher.close()
    assert values(answers) == [[1], [2]]
    batcher._thread.join(10)
    assert not batcher._thread.is_alive()
    with pytest.raises(RuntimeError):
        batcher.submit("half", rows(1))


def test_the_rows_of_batches_are_told(network):
    seen = []
    batcher = Batcher(network, seen=seen.append)
    submitted_while_busy(network, batcher, ("half", rows(1, 2, 3)), ("half", rows(4)))[-1].result(10)
    batcher.close()
    assert seen == [1, 4]
