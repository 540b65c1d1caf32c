"""The few requests that tell a ready server from a listening one, spoken over a plain socket.

A tool that ships with a server would need an installation (redis-cli) or a JVM start of seconds (Kafka's, cqlsh).
Everything that is not a good answer is raised as OSError or ValueError.
"""
from __future__ import annotations

import io
import socket
import struct


class NotReady(ValueError):
    """The server answered, but not yet what is wanted."""


class Redis:
    def __init__(self, address, timeout=5):
        self._socket = socket.create_connection(address, timeout)
        self._replies = self._socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._replies.close()
        self._socket.close()

    def __call__(self, *command):
        parts = [str(part).encode() for part in command]
        self._socket.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts))
        return self._reply()

    def _reply(self):
        line = self._replies.readline()
        if not line:
            raise ConnectionError("connection closed")
        kind, rest = line[:1], line[1:-2].decode()
        if kind == b"-":
            raise NotReady(rest)
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == "-1" else self._replies.read(int(rest) + 2)[:-2].decode()
        if kind == b"*":
            return [self._reply() for _ in range(int(rest))]
        return rest

    def info(self, *command):
        """A reply of `key:value` lines, as INFO and CLUSTER INFO give."""
        return dict(line.split(":", 1) for line in self(*command).splitlines() if ":" in line)


class _Reader(io.BytesIO):
    """Big-endian fields, as Kafka and CQL have them."""

    def number(self, form):
        size = struct.calcsize(form)
        data = self.read(size)
        if len(data) < size:
            raise ValueError("short answer")
        return struct.unpack(form, data)[0]

    def sized(self, form):
        size = self.number(form)
        return None if size < 0 else self.read(size)


def _receive(connection, size):
    data = b""
    while len(data) < size:
        chunk = connection.recv(size - len(data))
        if not chunk:
            raise ConnectionError("connection closed")
        data += chunk
    return data


def kafka_brokers(address, timeout=5):
    """The `(host, port)` of the brokers that this broker lists, by a Metadata request (version 4, no topics)."""
    header = struct.pack(">hhih", 3, 4, 1, -1)
    body = struct.pack(">i?", 0, False)
    with socket.create_connection(address, timeout) as connection:
        connection.sendall(struct.pack(">i", len(header + body)) + header + body)
        size = struct.unpack(">i", _receive(connection, 4))[0]
        answer = _Reader(_receive(connection, size))
    answer.number(">i")  # correlation
    answer.number(">i")  # throttle time
    brokers = set()
    for _ in range(answer.number(">i")):
        answer.number(">i")  # node id
        brokers.add(((answer.sized(">h") or b"").decode(), answer.number(">i")))
        answer.sized(">h")  # rack
    return brokers


_CQL_READY, _CQL_ERROR, _CQL_ROWS = 0x02, 0x00, 2
ONE, ALL = 1, 5


def cql(address, query, consistency=ONE, timeout=10):
    """The rows, each a list of raw column values, of a query that selects columns without type parameters."""

    def request(opcode, body):
        connection.sendall(struct.pack(">BBhBi", 4, 0, 0, opcode, len(body)) + body)
        opcode, size = struct.unpack(">4xBi", _receive(connection, 9))
        answer = _Reader(_receive(connection, size))
        if opcode == _CQL_ERROR:
            answer.number(">i")
            raise NotReady(answer.sized(">h").decode())
        return opcode, answer

    text = query.encode()
    with socket.create_connection(address, timeout) as connection:
        opcode, _ = request(0x01, b"\0\1\0\x0bCQL_VERSION\0\x053.0.0")
        if opcode != _CQL_READY:
            raise NotReady("authentication is asked for")
        _, answer = request(0x07, struct.pack(">i", len(text)) + text + struct.pack(">hB", consistency, 0))
    if answer.number(">i") != _CQL_ROWS:
        return []
    flags, columns = answer.number(">i"), answer.number(">i")
    if flags & 1:  # keyspace and table are given once for all columns
        answer.sized(">h"), answer.sized(">h")
    for _ in range(columns):
        answer.sized(">h"), answer.number(">h")  # name, type
    return [[answer.sized(">i") for _ in range(columns)] for _ in range(answer.number(">i"))]
