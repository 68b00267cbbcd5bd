"""A fresh interpreter, as users start one, and the tables that it wrote."""

import csv
import os
import subprocess
import sys

from tests.isolation import ROOT


def python(*arguments, folder=None) -> subprocess.CompletedProcess:
    """Run Python with `arguments` in `folder` (the working directory), and answer what it printed and returned."""
    command = [sys.executable, "-W", "ignore", *map(str, arguments)]
    here = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=here)


def table(path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with open(path, newline="") as file:
        return list(csv.DictReader(file))
