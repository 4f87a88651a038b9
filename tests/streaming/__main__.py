"""`python -m tests.streaming`: a transformer of a billion parameters recorded with --stream, side by side.

Writes the weights to a temporary directory, records the reference, a right port and one that is wrong in one
line, each in a process of its own, compares, and prints the verdicts and the peak of memory of each process.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.streaming.large_pair import Sizes, write_weights

PAIR = Path(__file__).with_name("large_pair.py")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.streaming", description=__doc__)
    parser.add_argument("--layers", type=int, default=18)
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--hidden", type=int, default=5632, help="width inside the gated layers")
    parser.add_argument("--words", type=int, default=32000)
    parser.add_argument("--heads", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=16)
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float32"])
    parser.add_argument("--place", type=Path, help="where the temporary directory is made")
    arguments = vars(parser.parse_args())
    place = arguments.pop("place")
    size = Sizes(**arguments)
    with tempfile.TemporaryDirectory(dir=place) as directory:
        run(size, Path(directory))


def run(size: Sizes, place: Path) -> None:
    weights = place / "weights"
    weights.mkdir()
    started = time.perf_counter()
    write_weights(size, weights)
    stored = sum(file.stat().st_size for file in weights.iterdir()) / 2**30
    print(f"{size.count / 1e9:.2f} billion parameters in {size.dtype}, {size.tokens} tokens: ", end="")
    print(f"{stored:.2f} GiB written in {time.perf_counter() - started:.0f} s", flush=True)
    os.environ["PARITY_SIZES"] = ",".join(map(str, size[:-1]))
    os.environ |= {"PARITY_DTYPE": size.dtype, "PARITY_WEIGHTS": str(weights)}
    reference = str(place / "reference")
    step("reference", ["record", f"{PAIR}:right", reference, "--side", "reference", "--stream"])
    for port in ("right", "wrong"):
        candidate = str(place / port)
        against = ["--side", "candidate", "--stream", "--against", reference]
        step(f"{port} port", ["record", f"{PAIR}:{port}", candidate, *against])
        step(f"{port} port compared", ["compare", reference, candidate])


def step(title: str, command: list[str]) -> None:
    """Run a command in a process of its own; print its time, its peak of memory and what it says."""
    started = time.perf_counter()
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen([sys.executable, "-m", "parity", *command], stdout=said, stderr=said)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        text = said.read().rstrip()
    taken, peak = time.perf_counter() - started, usage.ru_maxrss / 2**20
    print(f"\n{title}: {taken:.0f} s, peak {peak:.2f} GiB, exit code {process.returncode}", flush=True)
    print(*(f"  {line}" for line in text.splitlines()), sep="\n", flush=True)


if __name__ == "__main__":
    main()
