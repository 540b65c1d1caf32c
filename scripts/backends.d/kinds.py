"""The kinds of backend: which servers make up each, how one is configured and started, and when it is ready."""
from __future__ import annotations

import os
import re
import socket
import string
import subprocess
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import NamedTuple

import clients
import downloads
from processes import BackendError, run_tool

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
LOOPBACK = "127.0.0.1"


class Node(NamedTuple):
    """One server process."""
    name: str
    listens: list  # of (ip, port); the first is the one that clients use
    stage: int = 0  # a stage starts when the nodes of those before answer, and stops before them


@cache
def docker_answers():
    try:
        return all(subprocess.run(["docker", *command], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL, timeout=20).returncode == 0
                   for command in (["info"], ["compose", "version"]))
    except (OSError, subprocess.TimeoutExpired):
        return False


def render(template, target, **values):
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(string.Template((HERE / template).read_text()).substitute(values))
    return target


class Kind:
    address = ""  # what people connect to
    compose = None  # (Compose file, profile), where there is one
    deadline = 60  # seconds until it must be ready
    nodes: list = []

    def __init__(self, name, home):
        self.name = name
        self.home = home
        self.data = home / "data" / name

    def install(self, say):
        """Fetches what is missing and checks the tools. Called before anything is started."""

    def prepare(self):
        """Writes configuration into a fresh data folder."""

    def command(self, node):
        """The command that runs `node` in the foreground."""
        raise NotImplementedError

    def answers(self, node):
        """Raises OSError or ValueError until `node` answers a real request by itself."""

    def form(self, until):
        """Makes a cluster of nodes that answer. Called once, on fresh data; `until(f, *args)` repeats a call until it does not raise."""

    def ready(self):
        """Raises OSError or ValueError until every node serves as it should."""
        for node in self.nodes:
            self.answers(node)

    def version(self):
        """Name and version, asked of the running server where it can tell."""
        raise NotImplementedError

    def image_version(self):
        return re.search(r"image: \S*?([\w.-]+:[\w.-]+)", (ROOT / self.compose[0]).read_text())[1] + " (Docker)"


class Redis(Kind):
    # For the container that is the last resort, where neither PATH nor a wheel has a server for the machine.
    images = {"redis": "redis:8.2.3", "valkey": "valkey/valkey:9.0.1"}

    def __init__(self, name, home, brand, port):
        super().__init__(name, home)
        self.brand = brand
        self.address = f"{LOOPBACK}:{port}"
        self.nodes = [Node(brand, [(LOOPBACK, port)])]

    def install(self, say):
        program = f"{self.brand}-server"
        self.server = [downloads.server_on_path(program, self.brand)]
        if self.server == [None]:
            try:
                self.server = [downloads.server_from_wheel(self.brand, self.home / "dist" / self.brand, say)]
            except BackendError:
                if not docker_answers():
                    raise
                self.server = ["docker", "run", "--rm", "--network=host", f"--user={os.getuid()}:{os.getgid()}",
                               f"--volume={self.data}:{self.data}", self.images[self.brand], program]
                return
        # One place where tests that start servers of their own find the program.
        link = self.home / "bin" / program
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink() or Path(os.readlink(link)) != self.server[0]:
            link.unlink(missing_ok=True)
            link.symlink_to(self.server[0])

    def command(self, node):
        # The append-only file is what WAITAOF waits for; snapshots would add forks to every measurement.
        folder = self.data / node.name
        folder.mkdir(parents=True, exist_ok=True)
        ip, port = node.listens[0]
        return [*self.server, "--bind", ip, "--port", port, "--dir", folder, "--appendonly", "yes", "--save", ""]

    def answers(self, node):
        with clients.Redis(node.listens[0]) as redis:
            self._set_get(redis)

    @staticmethod
    def _set_get(redis):
        redis("PING")
        redis("SET", "backends:ready", "yes", "EX", 10)
        if redis("GET", "backends:ready") != "yes":
            raise clients.NotReady("GET does not return what SET wrote")

    def version(self):
        with clients.Redis(self.nodes[0].listens[0]) as redis:
            server = redis.info("INFO", "server")
        # Valkey reports a Redis version as well, for the sake of old clients.
        return f"Valkey {server['valkey_version']}" if "valkey_version" in server else f"Redis {server['redis_version']}"


class RedisCluster(Redis):
    masters, slots = 10, 16384

    def __init__(self, name, home):
        super().__init__(name, home, "redis", 7000)
        ports = range(7000, 7000 + 2 * self.masters)
        self.address = f"{LOOPBACK}:{ports[0]}-{ports[-1]}"
        # The replicas are a later stage so that they stop first: a master that stops waits for its replicas.
        self.nodes = [Node(str(port), [(LOOPBACK, port), (LOOPBACK, port + 10000)], stage=i // self.masters)
                      for i, port in enumerate(ports)]

    def command(self, node):
        # Without the sync delay of 0 the replicas' links come up 5 s late, and a master that dies before is never replaced.
        return [*super().command(node), "--cluster-enabled", "yes", "--cluster-node-timeout", 2000, "--repl-diskless-sync-delay", 0]

    def answers(self, node):
        with clients.Redis(node.listens[0]) as redis:
            redis("PING")

    def form(self, until):
        masters, replicas = self.nodes[:self.masters], self.nodes[self.masters:]
        for i, node in enumerate(self.nodes):
            with clients.Redis(node.listens[0]) as redis:
                redis("CLUSTER", "SET-CONFIG-EPOCH", i + 1)
                if node in masters:
                    redis("CLUSTER", "ADDSLOTSRANGE", i * self.slots // self.masters, (i + 1) * self.slots // self.masters - 1)
                if i > 0:
                    redis("CLUSTER", "MEET", *self.nodes[0].listens[0])
        for replica, master in zip(replicas, masters):
            with clients.Redis(master.listens[0]) as redis:
                master_id = redis("CLUSTER", "MYID")
            with clients.Redis(replica.listens[0]) as redis:
                until(redis, "CLUSTER", "REPLICATE", master_id)  # an error until gossip has told of the master

    def ready(self):
        written = 0
        for node in self.nodes:
            with clients.Redis(node.listens[0]) as redis:
                cluster = redis.info("CLUSTER", "INFO")
                if (cluster["cluster_state"], cluster["cluster_known_nodes"]) != ("ok", str(len(self.nodes))):
                    raise clients.NotReady(f"node {node.name}: cluster_state is {cluster['cluster_state']}, "
                                           f"{cluster['cluster_known_nodes']} of {len(self.nodes)} nodes known")
                if redis.info("INFO", "replication").get("master_link_status", "up") != "up":
                    raise clients.NotReady(f"node {node.name}: its link to its master is down")
                try:
                    self._set_get(redis)
                    written += 1
                except clients.NotReady as error:
                    if not str(error).startswith("MOVED"):
                        raise
        if not written:
            raise clients.NotReady("no node took a write")


class Java(Kind):
    java_versions = (17, 99)
    deadline = 300
    server = ""  # the folder of pom.xml, pins and templates

    def install(self, say):
        self.java = downloads.java(*self.java_versions)
        self.jars = downloads.jars(self.server, self.home / "dist" / self.server, say)

    def jar_version(self, jar):
        found = next((self.home / "dist" / self.server).glob(f"{jar}-[0-9]*.jar"))
        return f"{self.server.capitalize()} {found.stem[len(jar) + 1:]}"


class Kafka(Java):
    server = "kafka"

    def __init__(self, name, home, profile):
        super().__init__(name, home)
        self.compose = ("docker-compose.kafka.yml", profile)
        if profile == "single":
            self.cluster_id = "c2luZ2xlLWthZmthLW5vZA"
            self.nodes = [Node("single", [(LOOPBACK, 9092), (LOOPBACK, 9093)], stage=1)]
        else:
            self.cluster_id = "a2Fma2EtY2x1c3Rlci0yKw"
            self.nodes = [Node(f"controller-{i}", [(LOOPBACK, 9093 + 100 * i)]) for i in (1, 2)]
            self.nodes += [Node(f"broker-{i}", [(LOOPBACK, 9092 + 100 * (i - 10))], stage=1) for i in (11, 12)]
        # Brokers are a later stage so that they stop first: one that stops asks a controller for leave.
        self.brokers = [node for node in self.nodes if node.stage == 1]
        self.address = ",".join(f"{ip}:{port}" for ip, port in (node.listens[0] for node in self.brokers))

    def _java(self, *arguments):
        log4j = (HERE / "kafka/log4j2.properties").as_uri()
        return [self.java, "-XX:+UseSerialGC", f"-Dlog4j2.configurationFile={log4j}", "-cp", f"{self.jars}/*", *arguments]

    def _config(self, node):
        return self.data / node.name / "server.properties"

    def prepare(self):
        for node in self.nodes:
            role, _, number = node.name.partition("-")
            render(f"kafka/{role}.properties", self._config(node), id=number, port=node.listens[0][1], data=self.data / node.name / "log")
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda node: run_tool("kafka storage format", self._java(
                "kafka.tools.StorageTool", "format", "-t", self.cluster_id, "-c", self._config(node))), self.nodes))

    def command(self, node):
        heap = "512m" if node in self.brokers else "192m"
        return self._java(f"-Xms{heap}", f"-Xmx{heap}", "-XX:+ExitOnOutOfMemoryError", "kafka.Kafka", self._config(node))

    def ready(self):
        wanted = {node.listens[0] for node in self.brokers}
        for broker in wanted:
            listed = clients.kafka_brokers(broker)
            if listed != wanted:
                raise clients.NotReady(f"broker {broker[1]} lists {sorted(port for _, port in listed)}")

    def version(self):
        return self.jar_version("kafka_2.13")


class Cassandra(Java):
    """ScyllaDB is in no package registry; Cassandra answers the same CQL."""
    server = "cassandra"
    java_versions = (17, 17)  # the newest that Cassandra 5.0 supports

    def __init__(self, name, home, profile):
        super().__init__(name, home)
        self.compose = ("docker-compose.scylladb.yml", profile)
        # With its seed up, the second node joins; started together, they would not see each other.
        ips = {"127.0.0.1": 7199} if profile == "single" else {"127.0.0.2": 7200, "127.0.0.3": 7201}
        self.nodes = [Node(ip, [(ip, 9042), (ip, 7500), (LOOPBACK, jmx)], stage) for stage, (ip, jmx) in enumerate(ips.items())]
        self.address = ",".join(f"{ip}:9042" for ip in ips)

    def prepare(self):
        for node in self.nodes:
            render("cassandra/cassandra.yaml", self.data / node.name / "conf/cassandra.yaml", cluster=self.name, ip=node.name,
                   seed=self.nodes[0].name, data=self.data / node.name)

    def command(self, node):
        folder = self.data / node.name
        return [self.java, f"@{HERE / 'cassandra/jvm.options'}", f"-Dcassandra.jmx.local.port={node.listens[2][1]}",
                f"-Dcassandra.storagedir={folder}", f"-Dcassandra.config={(folder / 'conf/cassandra.yaml').as_uri()}",
                f"-Dlogback.configurationFile={(HERE / 'cassandra/logback.xml').as_uri()}", "-cp", f"{self.jars}/*",
                "org.apache.cassandra.service.CassandraDaemon"]

    def answers(self, node):
        clients.cql(node.listens[0], "SELECT release_version FROM system.local")

    def ready(self):
        super().ready()
        for node in self.nodes:
            peers = clients.cql(node.listens[0], "SELECT rpc_address FROM system.peers")
            seen = {socket.inet_ntoa(ip) for ip, in peers if ip is not None}  # a node that still joins has no address yet
            others = {other.name for other in self.nodes} - {node.name}
            if seen != others:
                raise clients.NotReady(f"node {node.name} sees {sorted(seen)}")
            if others:
                # Peers are remembered even while they are down. This keyspace has two replicas: reading both needs both up.
                clients.cql(node.listens[0], "SELECT session_id FROM system_traces.sessions LIMIT 1", clients.ALL)

    def version(self):
        [[release]] = clients.cql(self.nodes[0].listens[0], "SELECT release_version FROM system.local")
        return f"Cassandra {release.decode()}"


def all_kinds(home):
    return {kind.name: kind for kind in (
        Redis("redis", home, "redis", 6379), Redis("valkey", home, "valkey", 6380), RedisCluster("redis-cluster", home),
        Kafka("kafka", home, "single"), Kafka("kafka-cluster", home, "cluster"),
        Cassandra("scylla", home, "single"), Cassandra("scylla-cluster", home, "cluster"))}
