"""README.md holds: its examples run as they stand, its table of settings is the program's own."""
import json
import os
import re
import subprocess

import pytest

from support import ROOT

pytestmark = pytest.mark.plain

README = (ROOT / "README.md").read_text()


@pytest.fixture(scope="module")
def answers(stack):
    """The examples in order, each in a shell, as a reader would: what each printed, parsed where it is JSON."""
    part = README.split("<!-- examples")[1].split("## Settings")[0]
    env = {**os.environ, "KEY": stack.key, "URL": stack.url, "no_proxy": "*"}
    got = []
    for example in re.findall(r"```sh\n(.*?)```", part, re.S):
        shown = subprocess.run(["sh", "-c", example], cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)
        got.append((example, shown.stdout, shown.stderr))
        found = re.search(r'"session_id":\s*"([^"]+)"', shown.stdout)
        if found:
            env["ID"] = found.group(1)
    return got


def test_every_example_succeeds(answers):
    assert len(answers) == 9
    for example, output, errors in answers:
        assert '"detail"' not in output, (example, output)
        assert errors == "", (example, errors)


def test_the_examples_do_what_the_text_says(answers):
    run = json.loads(answers[2][1].splitlines()[0])
    assert [result["command"] for result in run["results"]] == ["ls", "make check"]
    assert "Makefile" in run["results"][0]["output"]
    written = json.loads(answers[3][1].splitlines()[0])
    assert written["results"] == [{"path": "/repo/hello.txt", "ok": True, "error": None}]
    edited, found = (json.loads(answers[4][1].replace("}{", "}\n{").splitlines()[i]) for i in (0, 1))
    assert edited == {"occurrences": 1, "error": None}
    assert found["matches"] == [{"path": "/repo/hello.txt", "line": 1, "text": "hello, world"}]
    assert answers[5][1].startswith(README[:20]) and answers[5][1].endswith("README.md\n")
    assert answers[6][1].startswith('{"accepted":5,"eof":false}')
    events = [json.loads(line[len("data: "):]) for line in answers[6][1].splitlines() if line.startswith("data: ")]
    assert "".join(event.get("data", "") for event in events).endswith("\ndone\n") and events[-1]["exit_code"] == 0
    assert json.loads(answers[7][1].splitlines()[0])["patch"]


def test_the_settings_table_is_the_programs_own():
    program = ROOT / "build" / os.environ.get("VARIANT", "gcc") / "sandboxd"
    printed = subprocess.run([program, "--print-settings"], capture_output=True, text=True, check=True).stdout
    table = re.search(r"<!-- settings:.*?-->\n(.*?)<!-- /settings", README, re.S).group(1)
    assert table == printed, "run scripts/settings-table"


def test_every_file_that_readme_names_is_there():
    for name in set(re.findall(r"\]\(([^)#]+)\)", README)) | set(re.findall(r"\bscripts/[\w-]+", README)):
        assert name.startswith("http") or (ROOT / name).exists(), name
