"""`python -m tests.house [--rev REV]`: the order of the house in figures, of the working tree or a commit."""

import argparse
import io
import subprocess
import tarfile
import tempfile
from pathlib import Path

from tests.house import figures


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.house", description=__doc__)
    parser.add_argument("--rev", help="a commit; default: the files as they are")
    parser.add_argument("-v", "--verbose", action="store_true", help="list names and functions, too")
    arguments = parser.parse_args()
    if arguments.rev is None:
        show(Path.cwd(), arguments.verbose)
        return
    archive = subprocess.run(["git", "archive", arguments.rev], check=True, capture_output=True).stdout
    with tempfile.TemporaryDirectory() as place:
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            files.extractall(place, filter="data")
        show(Path(place), arguments.verbose)


def show(root: Path, verbose: bool) -> None:
    widest, count = figures.widest_function(root)
    needing, lacking = figures.documented(root)
    names, files = figures.shared_names(root), figures.shared_file_names(root)
    print(f"modules directly in parity/: {len(figures.directly_inside(root))}")
    print(f"modules in parity/: {len(figures.modules(root))}")
    print(f"parameters of the widest public function: {count} ({widest})")
    print(f"uses of Any per 100 lines: {figures.any_per_hundred_lines(root):.2f}")
    share = 100 * (1 - len(lacking) / max(1, len(needing)))
    print(f"public functions with the sections they need: {share:.1f} % of {len(needing)}")
    print(f"file names that several modules have: {len(files)}")
    print(f"classes and functions that several modules define: {len(names)}")
    print(f"words of the README: {len((root / 'README.md').read_text().split())}")
    if verbose:
        print("file names:", ", ".join(f"{name} ({n})" for name, n in files.items()))
        for name, where in names.items():
            print(f"  {name}: {', '.join(where)}")
        for function in lacking:
            print(f"  {function.place}: {function.name}")


if __name__ == "__main__":
    main()
