"""Process groups: what they answer, and that one that dies or raises ends all, with its last words."""

import functools
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from parity.networks.processes import ProcessError, process_group

LONG_S = 600  # a hang; nothing here takes a tenth of it


def join_adders(worker):
    return lambda job: (worker.rank, worker.world, job + 1)


def join_and_fail(worker):
    raise ValueError(f"process {worker.rank} does not want to")


def join_by_action(worker):
    """Jobs are {rank: action}; the others sleep, as in a collective whose partner is missing."""

    def answer(job):
        action = job.get(worker.rank, "sleep")
        if action == "raise":
            raise ValueError("this job is bad")
        if action == "die":
            print("my last words", file=sys.stderr, flush=True)
            os._exit(7)
        if action == "sleep":
            time.sleep(LONG_S)
        return action

    return answer


def join_once_both_are_there(worker, files):
    (files / str(worker.rank)).touch()
    while len(list(files.iterdir())) < worker.world:
        time.sleep(0.01)
    return lambda job: os.getpid()


def test_all_work_on_every_job_and_the_first_answers():
    with process_group(3, join_adders) as group:
        assert group(1) == (0, 3, 2)
        assert group(10) == (0, 3, 11)
        pids = group.pids
    assert len(set(pids)) == 3
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_they_run_at_the_same_time(tmp_path):
    with process_group(2, functools.partial(join_once_both_are_there, files=tmp_path)) as group:
        assert group(None) == group.pids[0]


def test_one_that_cannot_join_says_why():
    with pytest.raises(ProcessError, match="raised while starting"), process_group(2, join_and_fail):
        pass


def test_one_that_raises_ends_all_with_its_traceback():
    with (
        process_group(2, join_by_action) as group,
        pytest.raises(ProcessError, match="process 1 of 2 raised while working") as caught,
    ):
        group({1: "raise"})
    assert "this job is bad" in str(caught.value)


def test_one_that_dies_ends_all_with_its_last_words():
    with process_group(2, join_by_action) as group, pytest.raises(ProcessError) as caught:
        group({1: "die"})
    assert "process 1 of 2 ended while working, exit code 7" in str(caught.value)
    assert "my last words" in str(caught.value)


def test_one_that_is_killed_ends_all():
    with process_group(2, join_by_action) as group:
        threading.Timer(0.5, os.kill, (group.pids[0], signal.SIGKILL)).start()
        with pytest.raises(ProcessError, match="process 0 of 2 ended while working, killed by SIGKILL"):
            group({})
        with pytest.raises(ProcessError):
            group({})
    for pid in group.pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_one_process_is_no_process_group():
    with (
        pytest.raises(ValueError, match="`world` is 1: it must be at least 2"),
        process_group(1, join_adders),
    ):
        pass


def runs(pid):
    """Whether a process runs; one that has ended and is not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_the_process_that_started_them(how):
    command = [sys.executable, "-m", "tests.parity.networks.orphans"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as parent:
        workers = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(set(workers)) == 2
        parent.send_signal(how)
        parent.wait()
    until = time.monotonic() + 30
    while alive := [pid for pid in workers if runs(pid)]:
        assert time.monotonic() < until, f"{alive} outlive their parent"
        time.sleep(0.05)
