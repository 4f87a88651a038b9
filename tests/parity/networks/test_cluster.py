"""The scripts of docs/cluster.md: two processes that only know where to meet, as on two hosts."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SCRIPTS = ROOT / "docs" / "cluster"
PATIENCE_S = 120  # a hang; processes notice the death of another within about ten seconds


def start(framework, rank, port, epochs):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(SCRIPTS / f"train_{framework}.py"), "--epochs", str(epochs)]
    if framework == "jax":
        command += ["--coordinator", f"127.0.0.1:{port}", "--processes", "2", "--process", str(rank)]
    else:
        environment |= {
            "RANK": str(rank),
            "WORLD_SIZE": "2",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
        }
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT
    )


@pytest.fixture
def port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize("framework", ["jax", "torch"])
def test_two_processes_find_each_other_and_train(framework, port):
    processes = [start(framework, rank, port, epochs=3) for rank in (0, 1)]
    told, quiet = (process.communicate(timeout=PATIENCE_S)[0] for process in processes)
    assert [process.returncode for process in processes] == [0, 0], (told, quiet)
    assert re.search(r"2 processes.*: loss [\d.]+", told)
    assert "loss" not in quiet


@pytest.mark.parametrize("framework", ["jax", "torch"])
def test_when_one_is_killed_the_other_ends_with_an_error(framework, port):
    survivor, victim = (start(framework, rank, port, epochs=10_000_000) for rank in (0, 1))
    try:
        time.sleep(12)  # both are training, or still meeting: either way
        assert survivor.poll() is None
        victim.send_signal(signal.SIGKILL)
        told = survivor.communicate(timeout=PATIENCE_S)[0]
        assert survivor.returncode != 0
        assert re.search("UNAVAILABLE|heartbeat|closed by peer|reset by peer", told), told[-2000:]
    finally:
        for process in (survivor, victim):
            process.kill()
            process.communicate()
