"""Checks of a server through the Python client of dqlite, unmodified from PyPI.

    checks.py SERVERS [--oracle]

prints one line per check, `ok - name`, `not ok - name: reason` or `skip - name: reason`, and `end` after the last.
The names of databases start with `py_`, so that the checks of other clients do not meet these.
"""

import asyncio
import math
import sys

from dqliteclient import ClusterClient, DqliteConnection, OperationalError, connect, create_pool
from dqliteclient.exceptions import DqliteConnectionError

SERVERS = sys.argv[1].split(",")
ORACLE = "--oracle" in sys.argv
CHECKS = []


def check(name, *, better=False, limit=20):
    """Registers a check. `better` is one that dqlite itself is known to fail."""

    def register(body):
        CHECKS.append((name, better, limit, body))
        return body

    return register


def same(got, wanted):
    # 1 == 1.0 == True in Python; here they differ.
    def typed(value):
        if isinstance(value, (list, tuple)):
            return [typed(inner) for inner in value]
        return (type(value), value)

    assert typed(got) == typed(wanted), f"{got!r:.200}, wanted {wanted!r:.200}"


async def leader():
    return await ClusterClient.from_addresses(SERVERS, timeout=5).find_leader()


async def opened(database, **options) -> DqliteConnection:
    return await connect(await leader(), database="py_" + database, **options)


async def fails(awaitable, code, text):
    try:
        await awaitable
    except OperationalError as error:
        assert error.code == code, f"code {error.code}, wanted {code}: {error}"
        assert text in str(error), f"message {error}, wanted {text!r} in it"
    else:
        raise AssertionError(f"no error, wanted {code} with {text!r}")


@check("the leader and the members of the cluster")
async def _():
    cluster = ClusterClient.from_addresses(SERVERS, timeout=5)
    found = await cluster.leader_info()
    nodes = await cluster.cluster_info()
    same(sorted(node.address for node in nodes), sorted(SERVERS))
    same({int(node.role) for node in nodes}, {0})
    assert found.address in SERVERS, found
    same(found.node_id, next(node.node_id for node in nodes if node.address == found.address))


@check("leadership is transferred")
async def _():
    cluster = ClusterClient.from_addresses(SERVERS, timeout=10)
    before = (await cluster.leader_info()).node_id
    for target in sorted({1, 2, 3} - {before}) + [before]:
        await cluster.transfer_leadership(target)
        same((await cluster.leader_info()).node_id, target)


@check("describe and weight")
async def _():
    cluster = ClusterClient.from_addresses(SERVERS, timeout=5)
    for address in SERVERS:
        await cluster.set_weight(3, address=address)
        described = await cluster.describe(address=address)
        same((described.weight, described.failure_domain), (3, 0))
        await cluster.set_weight(0, address=address)


@check("a server that does not lead says so")
async def _():
    first = await leader()
    for address in SERVERS:
        if address != first:
            try:
                conn = await connect(address, database="py_follower")
                await conn.fetch("SELECT 1")
            except (DqliteConnectionError, OperationalError) as error:
                assert error.code == 10250, f"code {error.code}: {error}"
            else:
                raise AssertionError(f"{address} answered a query")


@check("statements, results and a transaction")
async def _():
    conn = await opened("basics")
    await conn.execute("CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT)")
    same(await conn.execute("INSERT INTO t(b) VALUES (?), (?)", ["x", "y"]), (2, 2))
    same(await conn.fetch("SELECT * FROM t WHERE a = ?", [2]), [{"a": 2, "b": "y"}])
    same(await conn.query_raw("SELECT a, b AS name FROM t WHERE 0"), (["a", "name"], []))
    async with conn.transaction():
        await conn.execute("UPDATE t SET b = 'z'")
    try:
        async with conn.transaction():
            await conn.execute("DELETE FROM t")
            raise KeyError
    except KeyError:
        pass
    same(await conn.fetchall("SELECT b FROM t"), [["z"], ["z"]])
    await conn.close()


@check("values keep their types")
async def _():
    conn = await opened("types")
    await conn.execute("CREATE TABLE t(a)")
    for value in [
        None, 0, 1, -1, 2**63 - 1, -(2**63), 0.5, -1e300, 5e-324, math.inf, -math.inf,
        "", "a", "seven77", "eight888", "naïve 日本語 👩‍👩‍👧‍👦", "x" * 200_000, b"", b"\0", bytes(range(256)) * 500,
    ]:
        await conn.execute("DELETE FROM t")
        await conn.execute("INSERT INTO t VALUES (?)", [value])
        same(await conn.fetchval("SELECT a FROM t"), value)
    await conn.close()


@check("the types that the protocol names", better=True)
async def _():
    conn = await opened("named_types")
    await conn.execute("CREATE TABLE t(a INTEGER, b REAL, c TEXT, d BLOB, e DATETIME, f BOOLEAN)")
    await conn.execute("INSERT INTO t VALUES (1, 1, 1, x'01', '2024-02-29 12:00:00', 1)")
    await conn.execute("INSERT INTO t VALUES (NULL, NULL, NULL, NULL, 1700000000, NULL)")
    _, _, types, rows = await conn.query_raw_typed("SELECT * FROM t ORDER BY rowid")
    same([[int(name) for name in row] for row in types], [[1, 2, 3, 4, 10, 11], [5, 5, 5, 5, 9, 5]])
    same(rows[0][:4], [1, 1.0, "1", b"\1"])
    await conn.close()


@check("a thousand parameters", better=True)
async def _():
    conn = await opened("parameters")
    values = list(range(1000))
    await conn.execute("CREATE TABLE t(a)")
    same((await conn.execute("INSERT INTO t VALUES " + ", ".join(["(?)"] * 1000), values))[1], 1000)
    same(await conn.fetchval("SELECT sum(a) FROM t WHERE a IN (" + ", ".join(["?"] * 1000) + ")", values), 499500)
    await conn.close()


@check("a failing statement keeps the connection")
async def _():
    conn = await opened("errors")
    await conn.execute("CREATE TABLE t(a UNIQUE)")
    await conn.execute("INSERT INTO t VALUES (1)")
    for _ in range(3):
        await fails(conn.execute("SELEKT"), 1, "syntax error")
        await fails(conn.fetch("SELECT * FROM nowhere"), 1, "no such table")
        await fails(conn.execute("INSERT INTO t VALUES (1)"), 2067, "UNIQUE constraint failed")
        same(await conn.fetchval("SELECT count(*) FROM t"), 1)
    await conn.close()


@check("an error in the middle of a result ends it cleanly", better=True)
async def _():
    conn = await opened("middle")
    await fails(
        conn.fetch(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)"
            " SELECT i, abs(CASE WHEN i < 2500 THEN i ELSE -9223372036854775808 END) FROM n"
        ),
        1,
        "integer overflow",
    )
    same(await conn.fetchval("SELECT 7"), 7)
    await conn.close()


@check("a hundred thousand rows", limit=60)
async def _():
    conn = await opened("rows", timeout=60)
    rows = await conn.fetchall(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)"
        " SELECT i, 'row ' || i FROM n"
    )
    same(len(rows), 100_000)
    same(rows[99_999], [100_000, "row 100000"])
    await conn.close()


@check("a pool of connections writes at once", limit=60)
async def _():
    async with await create_pool(SERVERS, database="py_pool", min_size=1, max_size=8, timeout=30) as pool:
        await pool.execute("CREATE TABLE t(a INTEGER PRIMARY KEY)")

        async def write(writer):
            for n in range(10):
                while True:
                    try:
                        await pool.execute("INSERT INTO t VALUES (?)", [writer * 10 + n])
                        break
                    except OperationalError as error:
                        if error.code & 0xFF != 5:
                            raise

        await asyncio.gather(*(write(writer) for writer in range(8)))
        same(await pool.fetchval("SELECT count(*) FROM t"), 80)


@check("a dump holds the database")
async def _():
    conn = await opened("dumped")
    await conn.execute("CREATE TABLE t(a)")
    await conn.close()
    files = await ClusterClient.from_addresses(SERVERS, timeout=5).dump("py_dumped")
    same(sorted(files), ["py_dumped", "py_dumped-wal"])
    assert files["py_dumped"].startswith(b"SQLite format 3\0"), files["py_dumped"][:16]


async def main():
    for name, better, limit, body in CHECKS:
        if better and ORACLE:
            print(f"skip - python client: {name}: dqlite does not")
            continue
        try:
            async with asyncio.timeout(limit):
                await body()
        except Exception as error:  # Whatever went wrong is the check's result.
            reason = " ".join(f"{type(error).__name__} {error}".split())
            print(f"not ok - python client: {name}: {reason}", flush=True)
        else:
            print(f"ok - python client: {name}", flush=True)
    print("end")


asyncio.run(main())
