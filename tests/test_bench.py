"""The benchmark says what it lacks."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from devservers import ROOT

pytestmark = pytest.mark.no_database


def test_without_the_load_generator_it_ends_in_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench"],
        cwd=ROOT,
        env={**os.environ, "PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert done.stderr == "The load generator wrk is not installed: apt-get install wrk\n"
