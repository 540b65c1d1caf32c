"""Processes: run a tool; start a server detached, recognise it later, stop it; who listens on a port. Linux (/proc)."""
from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
from pathlib import Path


class BackendError(Exception):
    """One line for the user: what is wrong and what to do."""


class Interrupted(Exception):
    """A Ctrl-C or SIGTERM, seen by a thread."""


interrupted = threading.Event()


def run_tool(what, argv):
    """Runs a tool to its end. A failure is raised as one line; on an interrupt the tool is ended with its children."""
    with tempfile.TemporaryFile("w+", errors="replace") as out:
        process = subprocess.Popen([str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                                   start_new_session=True)
        while process.poll() is None:
            if interrupted.wait(0.02):
                os.killpg(process.pid, signal.SIGTERM)
                process.wait()
                raise Interrupted
        if process.returncode != 0:
            out.seek(0)
            lines = [line.strip() for line in out if line.strip()] or [f"exit {process.returncode}"]
            errors = [line for line in lines if "error" in line.lower()]
            raise BackendError(f"{what} failed: {(errors or lines[-1:])[0][:300]}")


def _stat(pid):
    """The fields of /proc/PID/stat from the third on, or None. The second, the name, may hold spaces."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def identity(pid):
    """What tells this process from a later one with the same pid: boot and start time. None if it is dead."""
    fields = _stat(pid)
    if fields is None:
        return None
    # The first thread may be gone (a zombie) while others of them still exit, and hold the memory and the sockets.
    state, threads = fields[0], int(fields[17])
    if state in "ZX" and threads <= 1:
        return None
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot}/{fields[19]}"


def alive(server):
    return server["identity"] is not None and identity(server["pid"]) == server["identity"]


def spawn(argv, log, cwd, append=False):
    """Starts a server in a session of its own, so that it survives this script and a Ctrl-C given to it."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "ab" if append else "wb") as out:
        process = subprocess.Popen([str(a) for a in argv], cwd=cwd, stdin=subprocess.DEVNULL, stdout=out,
                                   stderr=subprocess.STDOUT, start_new_session=True)
    return {"pid": process.pid, "identity": identity(process.pid)}


def _signal(servers, number):
    for server in servers:
        if alive(server):
            try:
                os.kill(server["pid"], number)
            except ProcessLookupError:
                pass


def stop(servers, deadline=20):
    """SIGTERM, and SIGKILL to what is still there at the deadline."""
    _signal(servers, signal.SIGTERM)
    end = time.monotonic() + deadline
    while any(map(alive, servers)):
        if time.monotonic() > end:
            _signal(servers, signal.SIGKILL)
        time.sleep(0.02)


def rss_mb(pid):
    fields = _stat(pid)
    return int(fields[21]) * os.sysconf("SC_PAGESIZE") / 1e6 if fields else 0


def last_line(log):
    try:
        lines = log.read_text(errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return lines[-1].strip()[:200] if lines else "(empty log)"


def _listeners():
    """(ip or None for any, port, inode) of every listening TCP socket."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            rows = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for row in rows:
            fields = row.split()
            if fields[3] != "0A":  # LISTEN
                continue
            address, port = fields[1].split(":")
            # The kernel prints addresses as 32-bit words in host order. An IPv4 one mapped into IPv6 is in the last word.
            if len(address) == 32 and not address.startswith("0" * 16):
                continue
            ip = socket.inet_ntoa(struct.pack("=I", int(address[-8:], 16)))
            yield None if ip == "0.0.0.0" else ip, int(port, 16), fields[9]


def _owner(inode):
    for fd in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if os.readlink(fd) == f"socket:[{inode}]":
                pid = fd.parts[2]
                command = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
                # One line, whatever the arguments hold.
                words = "".join(c if c.isprintable() else " " for c in command).split()
                return f"pid {pid} ({' '.join(words)[:120]})"
        except OSError:
            continue
    return "a process that this user cannot see"


def check_ports_free(addresses, patience=0):
    """Raises if someone listens on one of the `(ip, port)`, and still does after `patience` seconds."""
    end = time.monotonic() + patience
    while True:
        taken = next(((f"{ip}:{port}", inode) for listener_ip, listener_port, inode in _listeners() for ip, port in addresses
                      if port == listener_port and listener_ip in (None, ip)), None)
        if taken is None:
            return
        if time.monotonic() >= end:
            raise BackendError(f"port {taken[0]} is taken by {_owner(taken[1])}, which was not started here: stop it first")
        time.sleep(0.05)
