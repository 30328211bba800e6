#!/usr/bin/env python3
"""Breaks the pure crates in every way cargo-mutants knows, one at a time: `make mutants`.

A change that no test notices is a survivor. Fails when fewer than 95 % of the mutants of a crate
that compile are caught, or when a survivor is not explained in survivors.toml beside this file.
`PACKAGE=plan make mutants` does one crate.
"""

import collections
import json
import os
import pathlib
import re
import resource
import shutil
import subprocess
import sys
import time
import tomllib

PACKAGES = ["core", "plan", "analysis"]
LEAST = 0.95
# A loop that a mutant made endless may push into a list until it is stopped.
MEMORY = 6 << 30
# A first look at each mutant.
QUICK = {"TIDEGATE_WALKS": "300", "TIDEGATE_SEARCH_FAULTS": "0", "PROPTEST_CASES": "32"}
ROOT = pathlib.Path(__file__).resolve().parents[2]
SURVIVORS = pathlib.Path(__file__).with_name("survivors.toml")
# What cargo-mutants calls them, and what we do. A test that hangs has not passed.
WORDS = {
    "CaughtMutant": "caught",
    "MissedMutant": "missed",
    "Timeout": "timeout",
    "Unviable": "unviable",
}


def main():
    if subprocess.run(["cargo", "mutants", "--version"], capture_output=True).returncode != 0:
        sys.exit("error: cargo-mutants is missing: cargo install cargo-mutants --locked")
    wanted = os.environ.get("PACKAGE")
    if wanted and wanted not in PACKAGES:
        sys.exit(f"error: PACKAGE is `{wanted}`; it can be {', '.join(PACKAGES)}")
    packages = [wanted] if wanted else PACKAGES
    results = [Result(package) for package in packages]
    print(f"\n{'crate':<10}{'mutants':>8}{'viable':>8}{'caught':>8}{'timeout':>8}"
          f"{'missed':>8}{'unviable':>9}{'share':>8}{'time':>8}")
    for result in results:
        print(result.row())
    problems = [problem for result in results for problem in result.problems()]
    for problem in problems:
        print(problem, file=sys.stderr)
    sys.exit(1 if problems else 0)


class Result:
    """What became of the mutants of one crate."""

    def __init__(self, package):
        self.package = package
        # As it is now: somebody may work on it meanwhile, and the mutants are made from a copy.
        source = {
            str(path.relative_to(ROOT)): path.read_text().splitlines()
            for path in (ROOT / "crates" / package).rglob("*.rs")
        }
        began = time.monotonic()
        outcomes = run(package)
        self.minutes = (time.monotonic() - began) / 60
        self.counts = collections.Counter()
        self.survivors = []
        for outcome in outcomes:
            word = WORDS[outcome["summary"]]
            self.counts[word] += 1
            if word == "missed":
                self.survivors.append(place(outcome["scenario"]["Mutant"], source))
        self.viable = sum(self.counts.values()) - self.counts["unviable"]
        if self.viable == 0:
            sys.exit(f"error: no mutant of {package} could be compiled")
        self.share = (self.counts["caught"] + self.counts["timeout"]) / self.viable

    def row(self):
        count = self.counts
        return (f"{self.package:<10}{sum(count.values()):>8}{self.viable:>8}{count['caught']:>8}"
                f"{count['timeout']:>8}{count['missed']:>8}{count['unviable']:>9}"
                f"{self.share:>8.1%}{self.minutes:>6.1f} m")

    def problems(self):
        explained = collections.Counter(
            (entry["file"], entry["line"], entry["mutant"])
            for entry in tomllib.loads(SURVIVORS.read_text()).get("survivor", [])
            if entry["reason"] and entry["file"].startswith(f"crates/{self.package}/")
        )
        survivors = collections.Counter(self.survivors)
        for (file, line, mutant), _ in sorted((survivors - explained).items()):
            yield f"error: nothing noticed `{mutant}` in {file} at `{line}`"
        for (file, line, mutant), _ in sorted((explained - survivors).items()):
            yield f"error: `{mutant}` in {file} at `{line}` is explained and does not survive"
        if self.share < LEAST:
            yield f"error: {self.share:.1%} of {self.package}'s mutants are caught, not {LEAST:.0%}"


def run(package):
    """Lets cargo-mutants work on one crate; what became of each mutant at last.

    In two passes: most mutants are caught by a small part of the walks and the made up cases, in a
    second or two. Only what survives that meets all tests, as `make test` runs them.
    """
    target = ROOT / os.environ.get("CARGO_TARGET_DIR", "target")
    folder = target / "mutants" / package
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    outcomes = one_pass(package, folder, QUICK, ["--jobs", "2", "--minimum-test-timeout", "60"])
    missed = [name for name, outcome in outcomes.items() if outcome["summary"] == "MissedMutant"]
    if missed:
        # By name, as `--iterate` would also wait for the endless ones once more, with all tests.
        names = [argument for name in missed for argument in ("--re", f"^{re.escape(name)}$")]
        again = one_pass(package, folder, {}, ["--jobs", "1", *names])
        # It also tries those again that delete a field, whatever it is told to leave out.
        if not again.keys() >= set(missed):
            sys.exit(f"error: the second pass over {package} left out what the first one missed")
        outcomes |= {name: again[name] for name in missed}
    return list(outcomes.values())


def one_pass(package, folder, fewer, arguments):
    """One call of cargo-mutants; its outcomes by the names of the mutants."""
    # It builds in a copy of the tree, with a target folder there, that go together.
    left_out = {"CARGO_TARGET_DIR", *QUICK}
    environment = {key: value for key, value in os.environ.items() if key not in left_out}
    # Whether a mutant is caught is no matter of luck.
    environment["PROPTEST_RNG_SEED"] = "1"
    # One failure is enough; to look for a smaller one takes longer than all the tests.
    environment["PROPTEST_MAX_SHRINK_ITERS"] = "0"
    # Nobody looks at a backtrace, and to write what it needs takes time for every mutant.
    environment["CARGO_PROFILE_DEV_DEBUG"] = "0"
    environment["RUST_BACKTRACE"] = "0"
    environment |= fewer
    done = subprocess.run(
        ["cargo", "mutants", "--package", f"tidegate-{package}", "--output", str(folder),
         *arguments],
        cwd=ROOT,
        env=environment,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY)),
    )
    # 2: some were missed; 3: some timed out. Anything else is no result.
    if done.returncode not in (0, 2, 3):
        sys.exit(f"error: cargo-mutants ended with {done.returncode}; its logs are in {folder}")
    outcomes = json.loads((folder / "mutants.out" / "outcomes.json").read_text())["outcomes"]
    return {
        outcome["scenario"]["Mutant"]["name"]: outcome
        for outcome in outcomes
        if outcome["scenario"] != "Baseline"
    }


def place(mutant, source):
    """File, text of the line, and what was done there."""
    line = source[mutant["file"]][mutant["span"]["start"]["line"] - 1].strip()
    # The name begins with the file and the numbers of line and column.
    return mutant["file"], line, mutant["name"].split(": ", 1)[1]


if __name__ == "__main__":
    main()
