"""Fault tests use the stacks of the end-to-end tests, on a dockerd of their own."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
