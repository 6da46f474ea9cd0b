"""Sends a server what no client would, and checks that it goes on serving the others.

    hostile.py SERVERS [--oracle]

needs nothing but Python's own library, and prints lines as checks.py does. Every case is sent to every server.
After each, a new connection must get an answer to LEADER, and the connection of a patient client, opened before
the first case, must still be of use at the end.
"""

import os
import random
import socket
import struct
import sys
import tempfile

SERVERS = [(host, int(port)) for host, port in (a.rsplit(":", 1) for a in sys.argv[1].split(","))]
ORACLE = "--oracle" in sys.argv

VERSION = struct.pack("<Q", 1)
LEADER, OPEN, PREPARE, EXEC, EXEC_SQL, QUERY_SQL, CONNECT = 0, 3, 4, 5, 8, 9, 11


def message(kind, body, schema=0, words=None):
    """A request; `words` is the length that its header claims."""
    return struct.pack("<IBBH", len(body) // 8 if words is None else words, kind, schema, 0) + body


def text(value):
    raw = value.encode() + b"\0"
    return raw + b"\0" * (-len(raw) % 8)


def word(value):
    return struct.pack("<Q", value)


def dial(server, timeout=10.0):
    connection = socket.create_connection(server, timeout)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def receive(connection, n):
    data = b""
    while len(data) < n:
        part = connection.recv(n - len(data))
        if not part:
            raise ConnectionError("closed by the server")
        data += part
    return data


def call(connection, request):
    """One request and its answer: type and body."""
    connection.sendall(request)
    words, kind, _, _ = struct.unpack("<IBBH", receive(connection, 8))
    return kind, receive(connection, words * 8)


def who_leads(connection):
    kind, body = call(connection, message(LEADER, word(0)))
    assert kind == 1, f"LEADER was answered with type {kind}"
    identity = struct.unpack("<Q", body[:8])[0]
    assert identity != 0, "no leader"
    return identity


def greeted(server):
    connection = dial(server)
    connection.sendall(VERSION)
    return connection


def throw(server, data, half_close=True):
    """Sends bytes and takes whatever comes back, until the server closes or says nothing for a moment."""
    connection = dial(server, 3.0)
    answer = b""
    try:
        connection.sendall(data)
        if half_close:
            connection.shutdown(socket.SHUT_WR)
        connection.settimeout(0.5)
        while len(answer) < 1 << 20:
            part = connection.recv(65536)
            if not part:
                break
            answer += part
    except OSError:
        pass  # A reset or a silence: both are answers.
    finally:
        connection.close()
    return answer


def http(server):
    throw(server, b"GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: curl/8.0\r\nAccept: */*\r\n\r\n")


def tls(server):
    throw(server, bytes.fromhex("16030100f8010000f40303") + bytes(245))


def nothing(server):
    dial(server).close()
    throw(server, b"\1\0\0")


def wrong_version(server):
    throw(server, word(2) + message(LEADER, word(0)))


def random_bytes(server):
    chance = random.Random(20240229)
    for round in range(40):
        data = chance.randbytes(chance.randrange(1, 4000))
        throw(server, VERSION + data if round % 2 else data)


def random_bodies(server):
    """Every request type, with a header that is right and a body that is not."""
    chance = random.Random(1729)
    for kind in [*range(20), 63, 127, 192, 200, 255]:
        if kind == CONNECT:
            continue
        for schema in (0, 1, 255):
            body = chance.randbytes(8 * chance.randrange(1, 20))
            throw(server, VERSION + message(kind, body, schema))


def endless_length(server):
    """A body of 32 GiB is announced, and a little of it sent."""
    throw(server, VERSION + message(EXEC_SQL, b"x" * 4096, words=0xFFFFFFFF))
    throw(server, VERSION + message(EXEC_SQL, b"x" * 4096, words=0xFFFFFFFF), half_close=False)


def endless_length_fed(server):
    """The same, with a sender that does send on: the server has to hang up first."""
    connection = greeted(server)
    connection.settimeout(20)
    connection.sendall(message(EXEC_SQL, b"", words=0xFFFFFFFF))
    try:
        for _ in range(512):
            connection.sendall(b"x" * (1 << 20))
    except OSError:
        return
    finally:
        connection.close()
    raise AssertionError("512 MiB of a body of 32 GiB were taken")


def no_body(server):
    for kind in (LEADER, OPEN, EXEC_SQL, QUERY_SQL):
        throw(server, VERSION + message(kind, b""))


def counts_that_lie(server):
    """Parameters that are announced and missing, blobs longer than their message, texts without an end."""
    opened = VERSION + message(OPEN, text("hostile") + word(0) + text(""))
    sql = word(0) + text("SELECT ?")
    for parameters in (
        b"\xff" + b"\1" * 7,
        b"\1\4" + b"\0" * 6 + word(1 << 62),
        b"\1\4" + b"\0" * 6 + word(2**64 - 1),
        b"\1\3" + b"\0" * 6 + b"x" * 8,
        b"\1\x0e" + b"\0" * 6 + word(0),
        b"\2\1" + b"\0" * 6 + word(0),
    ):
        throw(server, opened + message(QUERY_SQL, sql + parameters))
        throw(server, opened + message(EXEC_SQL, sql + parameters))
    throw(server, opened + message(QUERY_SQL, sql + struct.pack("<I", 0xFFFFFFFF) + b"\1" * 4, schema=1))
    throw(server, opened + message(QUERY_SQL, word(0) + b"S" * 64))
    throw(server, VERSION + message(OPEN, b"n" * 64))


def handles_that_are_not(server):
    opened = VERSION + message(OPEN, text("hostile") + word(0) + text(""))
    for request in (
        message(EXEC_SQL, word(77) + text("SELECT 1")),
        message(QUERY_SQL, word(2**63) + text("SELECT 1")),
        message(PREPARE, word(0xFFFFFFFF) + text("SELECT 1")),
        message(EXEC, struct.pack("<II", 0, 999)),
        message(EXEC, struct.pack("<II", 0xFFFFFFFF, 0xFFFFFFFF)),
    ):
        throw(server, opened + request)
        throw(server, VERSION + request)


def names_that_escape(server):
    """Database names that are paths must neither leave the data directory nor harm the server."""
    token = f"escaped-{os.getpid()}"
    absolute = os.path.join(tempfile.gettempdir(), token)
    for name in (
        "../" + token, "../../" + token, "../../../" + token, absolute, f"a/../../../{token}", f"..\\..\\{token}",
        "", ".", "..", "/", "x" * 5000, "a\nb", "\u202e", "CON", "-wal", "-rf",
    ):
        create = message(EXEC_SQL, word(0) + text("CREATE TABLE IF NOT EXISTS t(a)"))
        throw(server, VERSION + message(OPEN, text(name) + word(0) + text("")) + create)
    above = os.environ.get("CLUSTER_DIR")
    places = [absolute, absolute + "-wal"]
    if above:
        # Names with a folder in them may become whatever the server likes, but below its own data directory.
        places += [os.path.join(folder, token) for folder in (above, os.path.dirname(above), os.getcwd())]
    escaped = [place for place in places if os.path.lexists(place)]
    assert not escaped, f"a database was made at {escaped}"


def broken_text(server):
    opened = VERSION + message(OPEN, text("hostile") + word(0) + text(""))
    throw(server, opened + message(EXEC_SQL, word(0) + b"SELECT '\xff\xfe\xc0\x80'\0".ljust(24, b"\0")))
    throw(server, opened + message(EXEC_SQL, word(0) + text("SELECT " + "-" * 50000 + "1")))


def bottomless_sql(server):
    """SQL that nests deeper than a parser's stack: each has to be refused, or answered, but not died of."""
    opened = VERSION + message(OPEN, text("hostile") + word(0) + text(""))
    for depth in (300, 3000, 30000):
        for sql in (
            "SELECT " + "(" * depth,
            "SELECT " + "(" * depth + "1" + ")" * depth,
            "SELECT " + "NOT " * depth + "1",
            "SELECT " + "- " * depth + "1",
            "SELECT " + "~" * depth + "1",
            "SELECT 1" + " || 1" * depth,
            "SELECT 1" + " COLLATE BINARY" * depth,
            "SELECT " + "CASE WHEN 1 THEN " * depth + "1" + " END" * depth,
            "SELECT " + "abs(" * depth + "1" + ")" * depth,
            "SELECT " + "(SELECT " * depth + "1" + ")" * depth,
            "SELECT * FROM " + "(SELECT * FROM " * depth + "sqlite_schema" + ")" * depth,
            "SELECT 1" + " UNION SELECT 1" * depth,
            "SELECT 1 WHERE 1 IN " + "(SELECT 1 WHERE 1 IN " * depth + "(1)" + ")" * depth,
            "WITH a AS (" * depth + "SELECT 1" + ") SELECT * FROM a" * depth,
            "EXPLAIN " * depth + "SELECT 1",
        ):
            throw(server, opened + message(EXEC_SQL, word(0) + text(sql)))


def false_peer(server):
    """A connection that claims to be another node of the cluster, and then talks nonsense."""
    chance = random.Random(42)
    for _ in range(10):
        throw(server, VERSION + message(CONNECT, word(2) + text("127.0.0.1:1")) + chance.randbytes(512))


def slow_header(server):
    """Clients that send one byte of a header and stay, a hundred of them."""
    crowd = []
    try:
        for _ in range(100):
            connection = greeted(server)
            connection.sendall(b"\1")
            crowd.append(connection)
        with greeted(server) as other:
            who_leads(other)
    finally:
        for connection in crowd:
            connection.close()


def deaf_client(server):
    """A client that asks for a long result and never reads it."""
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i, 'deaf' FROM n"
    deaf = greeted(server)
    try:
        call(deaf, message(OPEN, text("hostile") + word(0) + text("")))
        deaf.sendall(message(QUERY_SQL, word(0) + text(endless)))
        with greeted(server) as other:
            who_leads(other)
    finally:
        deaf.close()


# dqlite (1.11) aborts on those that are marked, at once or at its next snapshot: they are Ferrolite's alone.
CASES = [
    ("an HTTP request", http, False),
    ("a TLS greeting", tls, False),
    ("no byte, and half a greeting", nothing, False),
    ("another protocol version", wrong_version, False),
    ("random bytes", random_bytes, True),
    ("random bodies of every request", random_bodies, True),
    ("a body length without end", endless_length, True),
    ("a body without end", endless_length_fed, True),
    ("requests without a body", no_body, True),
    ("counts and lengths that lie", counts_that_lie, False),
    ("handles that do not exist", handles_that_are_not, False),
    ("database names that are paths", names_that_escape, True),
    ("text that is no SQL, and none that is UTF-8", broken_text, False),
    ("SQL that nests without end", bottomless_sql, False),
    ("a false peer", false_peer, False),
    ("a hundred unfinished headers", slow_header, False),
    ("a client that never reads", deaf_client, False),
]


def main():
    patient = [greeted(server) for server in SERVERS]
    for connection in patient:
        who_leads(connection)
    for name, case, better in CASES:
        if better and ORACLE:
            print(f"skip - hostile input: {name}: dqlite does not")
            continue
        try:
            for server in SERVERS:
                case(server)
                with greeted(server) as other:
                    who_leads(other)
        except (OSError, AssertionError) as error:
            print(f"not ok - hostile input: {name}: {type(error).__name__} {error}", flush=True)
        else:
            print(f"ok - hostile input: {name}", flush=True)
    try:
        for connection in patient:
            who_leads(connection)
            connection.close()
        print("ok - hostile input: a client that was there before is served to the end")
    except (OSError, AssertionError) as error:
        print(f"not ok - hostile input: a client that was there before is served to the end: {error}")
    print("end")


main()
