"""A process group on this machine: workers that run the same jobs together, as on several hosts."""

import contextlib
import multiprocessing
import os
import signal
import socket
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NamedTuple

START_S = 120.0
"""Seconds in which every process must have imported its libraries and met the others."""

GRACE_S = 5.0
"""Seconds that processes get to say why they fail, or to end by themselves, before they are ended."""

ENDED = 0
"""Exit code of a process that had no more jobs, or has reported what it raised."""

ORPHANED = 1
"""Exit code of a process whose parent has ended."""

TAIL = 20
"""Lines of a failed process's output that its error shows."""


class Worker(NamedTuple):
    """What a process knows of its group.

    Attributes:
        rank: its number, from 0 to `world` - 1.
        world: how many processes there are.
        meet: URL of a new file, where `torch.distributed` makes the processes meet.
        coordinator: `host:port`, where `jax.distributed` does.
    """

    rank: int
    world: int
    meet: str
    coordinator: str


Answer = Callable[[Any], Any]
"""`answer(job) -> result`, called in every process with the same jobs in the same order."""


class ProcessError(RuntimeError):
    """A process of a group died or raised; the others have been ended."""


class ProcessGroup:
    """Processes that answer jobs together; all end when one dies.

    Attributes:
        world: how many processes there are.
    """

    def __init__(self, world: int, join: Callable[[Worker], Answer], folder: Path):
        self.world = world
        self._folder = folder
        port = _free_port()
        context = multiprocessing.get_context("spawn")  # a fork would share threads that are not there
        self._connections: list[Connection] = []
        self._processes = []
        for rank in range(world):
            own_end, workers_end = context.Pipe()
            worker = Worker(rank, world, f"file://{folder / 'meet'}", f"127.0.0.1:{port}")
            output = str(self._output(rank))
            process = context.Process(target=_work, args=(join, worker, workers_end, output), daemon=True)
            process.start()
            workers_end.close()
            self._connections.append(own_end)
            self._processes.append(process)
        self._gather("starting", time.monotonic() + START_S)

    @property
    def pids(self) -> list[int]:
        """The processes' ids, by rank."""
        return [process.pid or 0 for process in self._processes]

    def __call__(self, job: Any) -> Any:
        """Let all processes work on a job.

        Args:
            job: what `answer` takes in each of them; it is pickled.

        Returns:
            The result of process 0.

        Raises:
            ProcessError: if one of them dies or raises, with its last words.
        """
        for rank, connection in enumerate(self._connections):
            try:
                connection.send(job)
            except OSError:
                self._fail(f"process {rank} of {self.world} has ended{self._how(rank)}", rank)
        return self._gather("working", deadline=None)

    def close(self) -> None:
        """End all processes: those that wait for a job by themselves, others by force."""
        for connection in self._connections:
            connection.close()
        deadline = time.monotonic() + GRACE_S
        for process in self._processes:
            process.join(max(0.0, deadline - time.monotonic()))
        for process in self._processes:
            if process.is_alive():
                process.kill()
                process.join()

    def _gather(self, doing: str, deadline: float | None) -> Any:
        """Every process's answer to the last job; that of the first is returned."""
        waiting = dict(enumerate(self._connections))
        results: dict[int, Any] = {}
        while waiting:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                ranks = ", ".join(map(str, waiting))
                self._fail(f"process {ranks} of {self.world} did not answer within {START_S:.0f} s", *waiting)
            ready = wait([*waiting.values(), *(self._processes[rank].sentinel for rank in waiting)], left)
            for rank, connection in list(waiting.items()):
                if connection in ready or self._processes[rank].sentinel in ready:
                    try:
                        raised, results[rank] = connection.recv()
                    except (EOFError, OSError):
                        self._fail(
                            f"process {rank} of {self.world} ended while {doing}{self._how(rank)}", rank
                        )
                    if raised:
                        self._fail_by(rank, doing, results[rank])
                    del waiting[rank]
        return results[0]

    def _fail_by(self, rank: int, doing: str, report: str) -> None:
        """A process raised: by itself, or because another has died, which may be seen here only later."""
        wait([process.sentinel for i, process in enumerate(self._processes) if i != rank], 1.0)
        for other, process in enumerate(self._processes):
            if other != rank and process.exitcode not in (None, ENDED):
                self._fail(f"process {other} of {self.world} ended while {doing}{self._how(other)}", other)
        self._fail(f"process {rank} of {self.world} raised while {doing}:\n{report}")

    def _how(self, rank: int) -> str:
        self._processes[rank].join(1.0)
        code = self._processes[rank].exitcode
        if code is not None and code < 0:
            return f", killed by {signal.Signals(-code).name}"
        return f", exit code {code}"

    def _fail(self, message: str, *ranks: int) -> None:
        """End all processes and raise."""
        for process in self._processes:
            process.kill()
        self.close()
        for rank in ranks:
            lines = self._output(rank).read_text(errors="replace").splitlines()[-TAIL:]
            if lines:
                message += f"\nthe last lines of process {rank}:\n" + "\n".join(f"  {line}" for line in lines)
        raise ProcessError(message)

    def _output(self, rank: int) -> Path:
        return self._folder / f"output-{rank}"


@contextlib.contextmanager
def process_group(world: int, join: Callable[[Worker], Answer]) -> Iterator[ProcessGroup]:
    """Start processes that work together until the block ends.

    Args:
        world: how many, at least 2.
        join: called once in each of them with its `Worker`; a function of a module, which every process
            imports. It joins the frameworks' process groups and returns what answers the jobs.

    Yields:
        The group, to be called with jobs.

    Raises:
        ValueError: if `world` is less than 2.
        ProcessError: if a process cannot start.
    """
    if world < 2:
        raise ValueError(f"`world` is {world}: it must be at least 2; one process is no group")
    with tempfile.TemporaryDirectory(prefix="parity-") as folder:
        group = ProcessGroup(world, join, Path(folder))
        try:
            yield group
        finally:
            group.close()


def end_with_parent() -> None:
    """End this process as soon as the one that started it ends, by whatever signal: no one waits for it then.

    What `timeout`, `docker stop` and `scancel` send ends a parent alone.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_behind, args=(parent,), daemon=True).start()


def _end_behind(parent: Any) -> None:
    parent.join()
    os._exit(ORPHANED)


def _work(join: Callable[[Worker], Answer], worker: Worker, connection: Connection, output: str) -> None:
    """What a process does: join, then answer jobs until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the parent, and its end ends this one
    end_with_parent()
    target = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(target, stream)
    try:
        answer = join(worker)
        connection.send((False, None))
        while True:
            job = connection.recv()
            result = answer(job)
            connection.send((False, result if worker.rank == 0 else None))
    except (EOFError, BrokenPipeError):  # the parent closed its end, or is gone
        pass
    except BaseException:
        with contextlib.suppress(OSError):
            connection.send((True, traceback.format_exc()))
    finally:
        os._exit(ENDED)  # a framework's group that has lost a process waits for it on a regular exit


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
