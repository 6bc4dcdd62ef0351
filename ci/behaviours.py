"""What `ci/compare-faces`, `ci/switch-off` and `ci/harness-table` share: the model of the bad
behaviours, and what a run of the runner made of them."""

import ctypes
import json
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PR_SET_CHILD_SUBREAPER = 36


def give_up(message):
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


def model(fixtures):
    """The rows by behaviour, and the outcomes of all other cases."""
    read = tomllib.loads((fixtures / "model.toml").read_text())
    return read["behaviours"], read["outcomes"]


def expected(fixtures):
    """The outcome of every case."""
    behaviours, others = model(fixtures)
    on_plain = {f"{test}::plain": row["outcome"] for test, row in behaviours.items()}
    on_other = {f"{test}::other": "SKIP" for test in behaviours}
    return others | on_plain | on_other


class Case:
    """What a recorded run says of one case: a word, and all that a person is given."""

    def __init__(self, word, given="", raw=""):
        self.word, self.given, self.raw = word, given, raw

    def faults(self, row):
        """In what it differs from its row of the model."""
        faults = []
        if self.word != row["outcome"]:
            faults.append(f"{self.word} instead of {row['outcome']}")
        faults += [f"does not show {p}" for p in row.get("shows", []) if not has(self.given, p)]
        faults += [f"shows {p}" for p in row.get("hides", []) if has(self.given, p)]
        faults += [f"does not let through {p}" for p in row.get("raw", []) if not has(self.raw, p)]
        return faults


def has(text, pattern):
    return re.search(pattern, text, re.MULTILINE) is not None


def recorded(folder, raw):
    """The cases of a recorded run, by id. `raw` is the run's own output."""
    cases = {}
    for line in (folder / "events.jsonl").read_text().splitlines():
        event = json.loads(line)
        kind = event.get("event")
        if kind == "case-skipped":
            cases[event["case"]["id"]] = Case("SKIP")
        elif kind == "attempt-finished":
            word = event["outcome"]["outcome"].replace("-", " ").upper()
            files = [event.get(key) for key in ("output", "hang_report")]
            given = [json.dumps(event["outcome"], ensure_ascii=False)]
            given += [read(folder / name) for name in files if name]
            word = word.replace("SKIPPED", "SKIP")
            cases[event["case"]["id"]] = Case(word, "\n".join(given), raw)
    return cases


def read(path):
    return path.read_bytes().decode(errors="replace")


def run_folder(text, fixtures):
    """Of the run that this output is of."""
    run = re.search(r"^\s*Run (\S+), seed", text, re.MULTILINE)
    return fixtures / "target/runner/runs" / run[1] if run else None


def adopt_orphans():
    """From now on every orphan below this process becomes its child."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        give_up("cannot become a subreaper")


def wait(pid, until):
    """The exit code, or `None` if it has not ended by then."""
    while time.monotonic() < until:
        reaped, status = os.waitpid(pid, os.WNOHANG)
        if reaped:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    return None


def end(pid):
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def living_children():
    """Children of this process that have not ended. Those that have are reaped."""
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                break
        except ChildProcessError:
            return []
    return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]


def left_behind(settle=0.3):
    """How many processes were left to this one after so many seconds; they are ended. What is only
    about to end does not count."""
    settled = time.monotonic() + settle
    while (left := living_children()) and time.monotonic() < settled:
        time.sleep(0.02)
    until = time.monotonic() + 30
    while children := living_children():
        for pid in children:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        if time.monotonic() > until:
            give_up(f"{len(children)} processes could not be ended")
    return len(left)


def observe(command, folder, output, patience, stdin=subprocess.DEVNULL, settle=0.3):
    """Runs a command into a file: its exit code, or `None` after so many seconds of patience; and
    how many processes it left."""
    variables = os.environ | {"NO_COLOR": "1", "RUST_BACKTRACE": "0"}
    variables.pop("CI", None)
    process = subprocess.Popen(
        command, cwd=folder, env=variables, stdin=stdin, stdout=output, stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    code = wait(process.pid, time.monotonic() + patience)
    if code is None:
        end(process.pid)
    # It was reaped by its pid, not by the object.
    process.returncode = code if code is not None else -signal.SIGKILL
    return code, left_behind(settle)
