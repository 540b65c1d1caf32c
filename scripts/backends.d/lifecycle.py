"""Up, down and state of one kind. What was started is on record in `run/KIND.json`, written before anything can go wrong
after it: only what is on record, and is still the same process, is ever signalled.
"""
from __future__ import annotations

import json
import shutil
import sys
import time

from kinds import ROOT, docker_answers
from processes import BackendError, Interrupted, alive, check_ports_free, interrupted, last_line, rss_mb, run_tool, spawn, stop


class Record:
    """`docker`: by Compose; `ready`: was ready once, so its data is whole; `servers`: the processes, by node name.

    A file that holds no record is `damaged`, and counts as none.
    """

    def __init__(self, home, kind):
        self.path = home / "run" / f"{kind.name}.json"
        self.exists = self.damaged = self.docker = self.ready = False
        self.servers = {}
        try:
            content = json.loads(self.path.read_text())
        except FileNotFoundError:
            return
        except (OSError, ValueError, RecursionError):
            content = None
        if self._is_record(content, kind):
            self.exists = True
            self.docker, self.ready, self.servers = content["docker"], content["ready"], content["servers"]
        else:
            self.damaged = True

    @staticmethod
    def _is_record(content, kind):
        return (isinstance(content, dict)
                and isinstance(content.get("docker"), bool) and (bool(kind.compose) or not content["docker"])
                and isinstance(content.get("ready"), bool)
                and isinstance(content.get("servers"), dict)
                and all(isinstance(server, dict) and type(server.get("pid")) is int
                        and isinstance(server.get("identity", 0), (str, type(None))) for server in content["servers"].values()))

    def save(self):
        self.exists = True
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps({"docker": self.docker, "ready": self.ready, "servers": self.servers}))
        new.replace(self.path)

    def remove(self):
        self.path.unlink(missing_ok=True)


class Lifecycle:
    def __init__(self, kind, home, native):
        self.kind = kind
        self.record = Record(home, kind)
        self.logs = home / "log" / kind.name
        if not self.record.exists:
            self.record.docker = bool(kind.compose) and not native and docker_answers()

    def log(self, node):
        return self.logs / f"{node.name}.log"

    def _dead(self):
        """Nodes that were started and are gone."""
        return [node for node in self.kind.nodes if node.name in self.record.servers and not alive(self.record.servers[node.name])]

    def _missing(self):
        """Nodes that are not running, of a kind that was ready before."""
        if self.record.docker:
            return []
        return [node for node in self.kind.nodes if node.name not in self.record.servers] + self._dead()

    def up(self, say, warn):
        """Returns once the kind is ready; the result says whether it was already."""
        if self.record.ready and not self._missing():
            try:
                self._until(10, self.kind.ready)
                return "already up"
            except BackendError as error:
                # A node that was still exiting is missing by now, and is restarted.
                if not self.record.docker and not self._missing():
                    raise BackendError(f"{error}; if that lasts: scripts/backends down {self.kind.name}, then up") from None
        if self.record.docker:
            self._up_by_compose(say)
        else:
            self._up_natively(say, warn)
        self.record.ready = True
        self.record.save()
        return "ready"

    def _compose(self, *command):
        file, profile = self.kind.compose
        # A project a kind: the profiles share a file, and one's `down` must not end the other.
        return ["docker", "compose", "-p", f"backends-{self.kind.name}", "-f", ROOT / file, "--profile", profile, *command]

    def _up_by_compose(self, say):
        if not self.record.exists:
            check_ports_free([node.listens[0] for node in self.kind.nodes])
        self.record.save()
        say("compose up")
        run_tool("docker compose up", self._compose("up", "-d", "--wait"))
        self._until(self.kind.deadline, self.kind.ready)

    def _up_natively(self, say, warn):
        if sys.platform != "linux":
            raise BackendError("runs natively on Linux only; Kafka and ScyllaDB start here once Docker answers")
        self.kind.install(say)
        restart = self.record.ready and self.kind.data.is_dir()
        patience = 10 if self.record.servers else 0  # the kernel may free the ports of what ends here a little later
        if restart:
            todo = self._missing()
            for node in todo:
                warn(f"{node.name} had died (log: {self.log(node)}), restarting it")
                self.record.servers.pop(node.name, None)
        else:
            todo = self.kind.nodes
            self._discard()
        check_ports_free([address for node in todo for address in node.listens], patience)
        if not restart:
            self.kind.data.mkdir(parents=True)
            self.record.save()
            self.kind.prepare()
        for stage in sorted({node.stage for node in self.kind.nodes}):
            for node in todo:
                if node.stage == stage:
                    if interrupted.is_set():
                        raise Interrupted
                    self.record.servers[node.name] = spawn(self.kind.command(node), self.log(node), self.kind.data, append=restart)
                    self.record.save()
            for node in self.kind.nodes:
                if node.stage == stage:
                    self._until(self.kind.deadline, self.kind.answers, node)
        if not restart:
            self.kind.form(lambda *call: self._until(self.kind.deadline, *call))
        self._until(self.kind.deadline, self.kind.ready)

    def _until(self, seconds, step, *args):
        end = time.monotonic() + seconds
        while True:
            for node in self._dead():
                raise BackendError(f"{node.name} died: {last_line(self.log(node))} (all of it: {self.log(node)})")
            try:
                return step(*args)
            except (OSError, ValueError) as error:
                if time.monotonic() > end:
                    raise BackendError(f"not ready in {seconds} s: {error} (logs: {self.logs})") from None
            if interrupted.wait(0.1):
                raise Interrupted

    def _discard(self):
        """Stops what is on record, the last stage first, and removes the data."""
        for stage in sorted({node.stage for node in self.kind.nodes}, reverse=True):
            stop([self.record.servers[node.name] for node in self.kind.nodes if node.stage == stage and node.name in self.record.servers])
        stop(self.record.servers.values())  # nodes of an older layout
        self.record.servers = {}
        shutil.rmtree(self.kind.data, ignore_errors=True)

    def down(self):
        """Stops what `up` started and removes its data; the logs stay. The result says whether there was anything."""
        if self.record.docker and self.record.exists:
            run_tool("docker compose down", self._compose("down", "--volumes"))
        running = any(map(alive, self.record.servers.values())) or (self.record.exists and self.record.docker)
        self._discard()
        self.record.remove()
        return "stopped" if running else "was not up"

    def status(self):
        """State, version, pids and memory in MB."""
        if not self.record.exists:
            try:
                check_ports_free([address for node in self.kind.nodes for address in node.listens])
            except BackendError as error:
                return "down", str(error), [], 0
            return "down", "", [], 0
        pids = [server["pid"] for server in self.record.servers.values() if alive(server)]
        memory = sum(map(rss_mb, pids))
        dead = self._missing() if self.record.ready else self._dead()
        if dead:
            return "dead", f"{', '.join(node.name for node in dead)} died, see {self.log(dead[0])}", pids, memory
        try:
            self.kind.ready()
            version = self.kind.image_version() if self.record.docker else self.kind.version()
        except (OSError, ValueError) as error:
            return "not ready", str(error), pids, memory
        # Without the mark an `up` did not come to its end; the next one starts afresh.
        return "up" if self.record.ready else "not ready", version, pids, memory
