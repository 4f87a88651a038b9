"""A pool whose workers sleep: `python -m tests.parity.networks.orphans` prints their ids, and waits."""

import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor

from parity.networks.processes import end_with_parent


def own_id(seconds: float) -> int:
    """The id of a worker.

    Args:
        seconds: to wait before it is told, so that no worker gets two.
    """
    time.sleep(seconds)
    return os.getpid()


if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, context, initializer=end_with_parent) as pool:
        print(*pool.map(own_id, [1.0, 1.0]), flush=True)
        pool.submit(own_id, 600.0).result()
