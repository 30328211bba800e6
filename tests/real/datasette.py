#!/usr/bin/env python3
"""Deploys two real versions of Datasette, unchanged, under traffic: `make real`.

Does what docs/guide-datasette.md tells a reader to do, in a folder of its own: a repository with a
requirement and a database, `tidegate init`, a deployment of one version, of the next, and back to
the first. Requests are sent through the proxy from the first deployment to the end; not one may be
lost. Nothing may be left running.

Needs git, Python 3 with pip, and the network. What is missing skips the test loudly, or fails it
when TIDEGATE_TEST_REQUIRE is set.
"""

import contextlib
import http.client
import json
import os
import pathlib
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time

FIRST, SECOND = "0.64.8", "0.65.2"
ENVIRONMENT = "production"
CLIENTS = 5
# Between two requests of one client: about 50 a second in all.
PAUSE = 0.1
# A test that hangs is a test that fails.
PATIENCE = 600


def main():
    missing = what_is_missing()
    if missing:
        if os.environ.get("TIDEGATE_TEST_REQUIRE"):
            sys.exit(f"error: {missing}")
        print(f"SKIPPED: {missing}", file=sys.stderr)
        return
    # Short, because the path of a socket below it may have only about 100 characters.
    folder = pathlib.Path(tempfile.mkdtemp(prefix="tg-real-"))
    passed = False
    try:
        Story(folder).tell()
        passed = True
    finally:
        survivors = processes_of(folder)
        for survivor in survivors:
            with contextlib.suppress(ProcessLookupError):
                os.kill(survivor, signal.SIGKILL)
        if passed:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            print(f"what is left is in {folder}", file=sys.stderr)
    check("nothing is left running", not survivors, survivors)
    print(f"datasette: {Checks.passed} passed, 0 failed")


def what_is_missing():
    if not shutil.which("git"):
        return "git is not installed"
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True).returncode:
        return "pip is not installed"
    return None


class Checks:
    passed = 0


def check(sentence, holds, found=None):
    if not holds:
        print(f"FAILED: {sentence}; found: {found}", file=sys.stderr)
        print(f"datasette: {Checks.passed} passed, 1 failed", flush=True)
        sys.exit(1)
    Checks.passed += 1
    print(f"  holds: {sentence}", flush=True)


class Story:
    def __init__(self, folder):
        self.folder = folder
        self.repository = folder / "fruit"
        self.home = folder / "home"
        self.binary = binary()
        self.environment = {
            **os.environ,
            "TIDEGATE_HOME": str(self.home),
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_AUTHOR_NAME": "Ana", "GIT_AUTHOR_EMAIL": "ana@example.org",
            "GIT_COMMITTER_NAME": "Ana", "GIT_COMMITTER_EMAIL": "ana@example.org",
        }

    def tell(self):
        self.make_repository()
        try:
            self.deploy_both_versions()
        finally:
            self.tidegate("down", check=False)

    def deploy_both_versions(self):
        self.tidegate("init")
        manifest = self.repository / "tidegate.yaml"
        text = manifest.read_text()
        check("init finds how Datasette is started", "datasette serve" in text, text)
        # The port of init may be taken on this machine; without the line a free one is chosen.
        lines = [line for line in text.splitlines() if not line.strip().startswith("listen:")]
        manifest.write_text("\n".join(lines) + "\n")
        self.tidegate("check")
        self.commit("Describe the deployment")

        self.tidegate("deploy", ENVIRONMENT)
        address = self.status()["address"]
        check(f"version {FIRST} serves", version(address) == FIRST, version(address))

        traffic = Traffic(address)
        with traffic.running():
            traffic.wait_for(100)
            self.require(SECOND)
            self.tidegate("deploy", ENVIRONMENT)
            check(f"version {SECOND} serves", version(address) == SECOND, version(address))
            traffic.wait_for(100)
            self.tidegate("rollback", ENVIRONMENT)
            check(f"version {FIRST} serves again", version(address) == FIRST, version(address))
            traffic.wait_for(100)
        check("no request was lost", not traffic.lost, traffic.lost[:5])
        check("both versions answered", set(traffic.answers) == {FIRST, SECOND}, traffic.answers)
        answered = ", ".join(f"{count} by {name}" for name, count in traffic.answers.items())
        print(f"  {traffic.sent} requests sent, 0 lost, {answered}; the longest took"
              f" {traffic.longest * 1000:.0f} ms")

        components = self.status()["components"]
        exits = {revision["id"]: revision["exits"]
                 for component in components for revision in component["revisions"]}
        check("no instance had to be replaced", exits and not any(exits.values()), exits)

        listed = json.loads(self.tidegate("history", ENVIRONMENT, "--json", quiet=True).stdout)
        statuses = [row["status"] for row in listed["deployments"]]
        check("the history shows three that succeeded", statuses == ["succeeded"] * 3, statuses)

    def make_repository(self):
        self.repository.mkdir()
        self.git("init", "--quiet", "--initial-branch", "main")
        with contextlib.closing(sqlite3.connect(self.repository / "fruit.db")) as database:
            database.execute("create table fruit (id integer primary key, name text, price real)")
            rows = [("apple", 1.2), ("pear", 1.4), ("plum", 0.9)]
            database.executemany("insert into fruit (name, price) values (?, ?)", rows)
            database.commit()
        (self.repository / ".gitignore").write_text("vendor/\n")
        self.require(FIRST)

    def require(self, wanted):
        (self.repository / "requirements.txt").write_text(f"datasette=={wanted}\n")
        self.commit(f"Use Datasette {wanted}")

    def commit(self, message):
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)

    def git(self, *arguments):
        command = ["git", *arguments]
        subprocess.run(command, cwd=self.repository, env=self.environment, check=True)

    def tidegate(self, *arguments, check=True, quiet=False):
        began = time.monotonic()
        if not quiet:
            print(f"$ tidegate {' '.join(arguments)}", flush=True)
        done = subprocess.run([self.binary, *arguments], cwd=self.repository, text=True,
                              env=self.environment, timeout=PATIENCE, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if not quiet or done.returncode:
            for line in (done.stderr + done.stdout).splitlines():
                print(f"    {line}")
            print(f"    ({time.monotonic() - began:.1f} s)", flush=True)
        if check and done.returncode:
            sys.exit(f"tidegate {' '.join(arguments)} ended with {done.returncode}")
        return done

    def status(self):
        told = self.tidegate("status", ENVIRONMENT, "--json", quiet=True).stdout
        [environment] = json.loads(told)["environments"]
        return environment


def binary():
    """The debug build, wherever cargo puts it."""
    root = pathlib.Path(__file__).resolve().parents[2]
    command = ["cargo", "metadata", "--no-deps", "--offline", "--format-version", "1"]
    told = subprocess.run(command, cwd=root, stdout=subprocess.PIPE, check=True)
    path = pathlib.Path(json.loads(told.stdout)["target_directory"]) / "debug" / "tidegate"
    if not path.exists():
        sys.exit(f"error: {path} is not there; `make real` builds it")
    return str(path)


def get(connection, path):
    connection.request("GET", path)
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != 200:
        raise http.client.HTTPException(f"{path} answered {answer.status}: {body[:200]!r}")
    return json.loads(body)


def version(address):
    """The version that a new connection is answered by."""
    with contextlib.closing(http.client.HTTPConnection(address, timeout=30)) as connection:
        return get(connection, "/-/versions.json")["datasette"]["version"]


class Traffic:
    """Clients that keep their connection and ask on and on. An answer that is not whole, not 200
    or not what was asked for is a lost request; nothing is tried again."""

    def __init__(self, address):
        self.address = address
        self.sent = 0
        self.answers = {}
        self.lost = []
        self.longest = 0.0
        self.lock = threading.Lock()
        self.end = threading.Event()

    @contextlib.contextmanager
    def running(self):
        clients = [threading.Thread(target=self.ask, daemon=True) for _ in range(CLIENTS)]
        for client in clients:
            client.start()
        try:
            yield
        finally:
            self.end.set()
            for client in clients:
                client.join()

    def ask(self):
        connection = http.client.HTTPConnection(self.address, timeout=30)
        with contextlib.closing(connection):
            while not self.end.wait(PAUSE):
                began = time.monotonic()
                answered = fault = None
                try:
                    answered = get(connection, "/-/versions.json")["datasette"]["version"]
                    rows = get(connection, "/fruit/fruit.json?_shape=array")
                    if [row["name"] for row in rows] != ["apple", "pear", "plum"]:
                        fault = f"wrong rows: {rows}"
                except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
                    fault = repr(error)
                    connection.close()
                with self.lock:
                    self.sent += 2
                    self.longest = max(self.longest, time.monotonic() - began)
                    if answered:
                        self.answers[answered] = self.answers.get(answered, 0) + 1
                    if fault:
                        self.lost.append(fault)

    def wait_for(self, more):
        """Until so many more requests were sent."""
        wanted = self.sent + more
        deadline = time.monotonic() + 60
        while self.sent < wanted:
            if time.monotonic() > deadline:
                sys.exit(f"only {self.sent} of {wanted} requests were sent within a minute")
            time.sleep(0.05)


def processes_of(folder):
    """Processes that work in the folder or name it in their command, ours excepted."""
    deadline = time.monotonic() + 30
    while True:
        found = []
        for entry in pathlib.Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().decode(errors="replace")
                place = os.readlink(entry / "cwd")
                variables = (entry / "environ").read_bytes().decode(errors="replace")
                if int(entry.name) != os.getpid() and any(
                    str(folder) in text for text in (words, place, variables)
                ):
                    found.append(int(entry.name))
        # What was told to stop may need a moment to be gone.
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.1)


if __name__ == "__main__":
    main()
