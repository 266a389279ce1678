"""Programs on a terminal, driven as a person would: through stdin, signals, the size, and what they show."""
import re

import pytest

from conftest import finish_whole
from exec_kit import Exec, wait_for
from support import BUSYBOX, eventually


@pytest.fixture(scope="module")
def stack(start_stack):
    """A follower that stands still has the session's lock for longer than others wait by default: here they wait for it."""
    stack = start_stack(SESSION_LOCK_WAIT_SECONDS="30")
    yield stack
    finish_whole(stack)


class Terminal:
    """An exec on a terminal with somebody who watches it."""

    def __init__(self, session, **fields):
        self.job = Exec(session, tty=True, **fields)
        assert self.job.started["tty"] and self.job.started["stdin_open"]
        self.screen = self.job.follower().in_thread()

    def type(self, text):
        assert self.job.stdin(text)["accepted"] == len(text.encode())

    def shows(self, pattern, timeout=20):
        eventually(lambda: re.search(pattern, self.screen.text()), timeout,
                   f"{pattern!r} on {self.screen.text()[-800:]!r}")

    def resize(self, rows, columns):
        response = self.job.post("resize", json={"rows": rows, "columns": columns})
        assert response.status_code == 204, response.text

    def ends(self):
        return self.screen.join().exit


def test_bash_with_its_jobs(shared):
    bash = Terminal(shared, argv=["bash", "--norc", "-i"], env={"PS1": "prompt> "}, rows=30, columns=100)
    bash.shows(r"prompt> ")
    bash.type("tty; stty size; echo $TERM; echo $COLUMNS x $LINES\n")
    bash.shows(r"/dev/pts/\d+\r\n30 100\r\nxterm-256color\r\n100 x 30\r\n")
    bash.type("sleep 1000\n")
    eventually(lambda: any("sleep 1000" in line for line in shared.stack.docker.processes(shared.container)))
    bash.type("\x03")  # Ctrl-C ends the sleep and not the shell
    bash.shows(r"\^C")
    bash.type("echo code $?\n")
    bash.shows(r"code 130\r\n")
    bash.type("sleep 1001\n")
    eventually(lambda: any("sleep 1001" in line for line in shared.stack.docker.processes(shared.container)))
    bash.type("\x1a")  # Ctrl-Z
    bash.shows(r"Stopped\s+sleep 1001")
    bash.type("kill %1; wait %1; echo gone\n")
    bash.shows(r"(?s)(?<!echo )gone\r\n.*prompt> ")  # before the next prompt the terminal would keep a Ctrl-D for itself
    bash.type("\x04")  # Ctrl-D
    assert bash.ends()["exit_code"] == 0


def test_the_size_follows(shared):
    bash = Terminal(shared, argv=["bash", "--norc", "-c", "trap 'stty size' WINCH; echo ready; while :; do sleep 0.05; done"])
    bash.shows("ready")
    bash.resize(44, 133)
    bash.shows("44 133")
    bash.job.cancel()
    assert bash.ends()["reason"] == "cancelled"


def test_a_signal_goes_to_the_foreground(shared):
    bash = Terminal(shared, argv=["bash", "--norc", "-i"], env={"PS1": "prompt> "})
    bash.shows(r"prompt> ")
    bash.type("sleep 1002\n")
    eventually(lambda: any("sleep 1002" in line for line in shared.stack.docker.processes(shared.container)))
    bash.job.signal("INT")
    bash.type("echo code $?\n")
    bash.shows(r"code 130\r\n")
    bash.type("exit 7\n")
    assert bash.ends()["exit_code"] == 7


def test_end_of_input_is_typed(shared):
    cat = Terminal(shared, command="cat; echo end")
    cat.type("line\n")
    cat.shows("line\r\nline\r\n")
    assert cat.job.stdin("", eof=True) == {"accepted": 0, "eof": True}
    cat.shows("end\r\n")
    assert cat.ends()["exit_code"] == 0


def test_a_prompt_without_echo(shared):
    ask = Terminal(shared, command="read -s -p 'secret: ' word; echo; echo ${#word}")
    ask.shows("secret: ")
    ask.type("hidden\n")
    assert ask.ends()["exit_code"] == 0
    assert "hidden" not in ask.screen.text() and "6\r\n" in ask.screen.text()


def test_the_terminal_is_the_users(shared):
    look = Exec(shared, "test -O $(tty) && test -w $(tty) && echo mine > $(tty); test -w /dev/tty && echo tty; id -u", tty=True)
    look.ended()
    assert look.follow().text() == "mine\r\ntty\r\n1000\r\n"


def test_what_is_left_on_a_terminal_is_hung_up(shared):
    job = Exec(shared, "sleep 1003 & echo started", tty=True)
    assert job.ended()["exit_code"] == 0
    eventually(lambda: not any("sleep 1003" in line for line in shared.stack.docker.processes(shared.container)))


def test_top_draws_and_quits(create):
    session = create(BUSYBOX)
    top = Terminal(session, argv=["top", "-d", "1"], rows=20, columns=80)
    top.shows(r"Mem: .* used")
    top.shows(r"PID\s+PPID\s+USER")
    top.resize(10, 60)
    top.type("q")
    assert top.ends()["exit_code"] == 0


def test_waiting_is_told_by_the_stream(shared):
    job = Exec(shared, "read -p 'name? ' name; echo hello $name", tty=True)
    screen = job.follower(form="ndjson").in_thread()
    wait_for(screen, "name? ")
    job.stdin("world\n")
    assert "hello world" in screen.join().text()


def test_python_asks_and_is_told(shared):
    python = Terminal(shared, argv=["python3", "-i", "-q"])
    python.shows(r">>> ")
    python.type("name = input('who? ')\n")
    python.shows(r"who\? $")
    python.type("sandbox\n")
    python.type("print(name.upper(), 6 * 7)\n")
    python.shows(r"SANDBOX 42\r\n")
    python.type("while True: pass\n\n")
    python.type("\x03")  # Ctrl-C ends the loop and not the interpreter
    python.shows(r"KeyboardInterrupt")
    python.type("exit(7)\n")
    assert python.ends()["exit_code"] == 7
