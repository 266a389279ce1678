"""Fault tests use the stacks of the end-to-end tests, on a dockerd of their own."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))

import pytest  # noqa: E402

from faults import OwnDockerd  # noqa: E402


@pytest.fixture(scope="session")
def dockerd():
    own = OwnDockerd()
    yield own
    own.destroy()
