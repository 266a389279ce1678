"""The stack of the end-to-end suite, for the fuzzer of the interface: its fixtures and hooks are those of tests/e2e."""
import importlib.util
import pathlib
import sys

E2E = pathlib.Path(__file__).resolve().parents[2] / "e2e"
sys.path.insert(0, str(E2E))
spec = importlib.util.spec_from_file_location("e2e_conftest", E2E / "conftest.py")
e2e = importlib.util.module_from_spec(spec)
spec.loader.exec_module(e2e)
globals().update({name: value for name, value in vars(e2e).items() if not name.startswith("__")})
