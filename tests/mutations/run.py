"""Breaks the code in one place for each invariant, and demands that a check says its number.

    python3 tests/mutations/run.py [NUMBER...]

Works on a copy of the committed and changed files; the tree itself is not touched. Needs Rust and
git only. What is built is kept in TIDEGATE_MUTATIONS_TARGET, if that is set; let it be a folder of
its own, as what is broken there would be taken for the tree's own.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib

ROOT = pathlib.Path(__file__).resolve().parents[2]
TABLE = pathlib.Path(__file__).with_name("invariants.toml")
# A broken machine may go in circles.
PATIENCE = 900


def copy(to):
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT, check=True, capture_output=True,
    ).stdout
    for name in filter(None, listed.decode().split("\0")):
        source = ROOT / name
        if source.is_file():
            target = to / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)


def tried(tree, target, mutation):
    """None when the check found it, else what is wrong."""
    package, binary, name = mutation["test"]
    file = tree / mutation["file"]
    text = file.read_text()
    if text.count(mutation["old"]) != 1:
        return f"{mutation['file']} has the text {text.count(mutation['old'])} times"
    file.write_text(text.replace(mutation["old"], mutation["new"]))
    environment = dict(os.environ, CARGO_TARGET_DIR=str(target), RUST_BACKTRACE="0")
    # A failure is shown as it is found; the smallest one is of no use here.
    environment["PROPTEST_MAX_SHRINK_ITERS"] = "0"
    command = [os.environ.get("CARGO", "cargo"), "test", "--quiet", "--package", package,
               "--test", binary, name]
    try:
        ran = subprocess.run(command, cwd=tree, env=environment, capture_output=True,
                             text=True, errors="replace", timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        return f"no end within {PATIENCE} s"
    finally:
        file.write_text(text)
    said = ran.stdout + ran.stderr
    if "error: could not compile" in said:
        return "it does not compile:\n" + said[-2000:]
    if ran.returncode == 0:
        return "nobody noticed"
    if not re.search(rf"invariant {mutation['number']}:", said):
        others = sorted(set(re.findall(r"invariant (\d+):", said)), key=int)
        return f"it failed with {', '.join(others) or 'no number'}"
    return None


def main():
    mutations = tomllib.loads(TABLE.read_text())["mutation"]
    wanted = {int(number) for number in sys.argv[1:]}
    mutations = [one for one in mutations if not wanted or one["number"] in wanted]
    missed = 0
    with tempfile.TemporaryDirectory(prefix="tidegate-mutations-") as folder:
        tree = pathlib.Path(folder) / "tree"
        kept = os.environ.get("TIDEGATE_MUTATIONS_TARGET")
        target = pathlib.Path(kept) if kept else pathlib.Path(folder) / "target"
        copy(tree)
        for mutation in mutations:
            began = time.monotonic()
            fault = tried(tree, target, mutation)
            missed += fault is not None
            took = time.monotonic() - began
            verdict = "caught" if fault is None else f"MISSED: {fault}"
            print(f"{mutation['number']:>3}  {mutation['fault']}: {verdict} ({took:.0f} s)",
                  flush=True)
    print(f"{len(mutations) - missed} of {len(mutations)} caught")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
