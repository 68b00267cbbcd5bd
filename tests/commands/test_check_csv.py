"""`check-csv` at the front door, whose name is understood with a dash and with an underscore."""

import pytest

from tests.fresh import python
from tests.test_run import refused
from tl_keras import command_line, commands, run
from tl_keras.export import predictions_csv


@pytest.fixture
def place(isolated_place):
    (isolated_place / "sample.csv").write_text("image,label,probability\nb.jpg,0,0.0\na.jpg,0,0.0\n")
    predictions_csv.write(isolated_place / "mine.csv", [("a.jpg", 1, 0.9), ("b.jpg", 0, 0.8)], "sample.csv")
    return isolated_place


@pytest.mark.parametrize("name", ["check-csv", "check_csv"])
@pytest.mark.parametrize("arguments", [["mine.csv", "--sample", "sample.csv"], ["--sample", "sample.csv", "mine.csv"]])
def test_a_file_that_holds_all_conventions(capfd, place, name, arguments):
    assert run.main([name, *arguments]) == 0
    assert capfd.readouterr() == ("2 rows, all conventions hold\n", "")
    assert sorted(path.name for path in place.iterdir()) == ["mine.csv", "sample.csv"]


@pytest.mark.parametrize(
    "arguments, said",
    [
        ([], "FILE: expected the predictions file, received nothing; name it"),
        (["mine.csv"], "--sample: expected the sample file of the competition, received nothing; name it"),
        (["mine.csv", "--sample", ""], "--sample: expected the sample file, "),
        (["gone.csv", "--sample", "sample.csv"], "gone.csv: expected a CSV file, received none that can be read"),
        (["mine.csv", "--sample", "gone.csv"], "gone.csv: expected a CSV file, received none that can be read"),
        ([".", "--sample", "sample.csv"], ".: expected a CSV file, received none that can be read (Is a directory)"),
        (["mine.csv", "other.csv", "--sample", "sample.csv"], "received other.csv"),
        (["mine.csv", "--sample", "sample.csv", "--roll", "7"], "received --roll"),
    ],
)
def test_usage_errors(capfd, place, arguments, said):
    assert said in refused(capfd, "check-csv", *arguments)


def test_a_broken_convention(capfd, place):
    (place / "mine.csv").write_text((place / "mine.csv").read_text().replace("0.9", "nan"))
    line = refused(capfd, "check-csv", "mine.csv", "--sample", "sample.csv")
    assert line == "error: mine.csv, line 3: expected a probability from 0 to 1, received 'nan'; give a number\n"


def test_it_answers_without_tensorflow(place):
    code = (
        "import sys; from tl_keras.run import main; assert main(sys.argv[1:]) == 0; print('keras' in sys.modules, "
        "'tensorflow' in sys.modules)"
    )
    done = python("-c", code, "check-csv", "mine.csv", "--sample", "sample.csv", folder=place)
    assert done.stdout == "2 rows, all conventions hold\nFalse False\n", done.stderr


def test_names_of_two_words(capfd, place):
    assert "check-csv" in command_line.summaries(commands), "as it is shown"
    for spelt in ("cifar_ab", "cifar-ab"):  # an experiment keeps the name that its run folders have
        assert "tl-keras cifar_ab: " in refused(capfd, spelt, "surplus")
    assert "received 'check csv'" in refused(capfd, "check csv")
