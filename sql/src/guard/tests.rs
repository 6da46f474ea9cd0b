#![allow(clippy::unwrap_used)]
use super::*;

/// What must never reach the engine, in the disguises that SQL allows.
#[test]
fn refuses_what_leaves_the_replicated_world() {
    for sql in [
        "ATTACH 'x.db' AS x",
        "  -- hi\n /* there */ attach database ':memory:' as y",
        "explain attach 'x' as y",
        "EXPLAIN QUERY PLAN ATTACH 'x' AS y",
        "PRAGMA journal_mode=delete",
        "pragma main.journal_mode = mvcc",
        "PRAGMA \"journal_mode\"('delete')",
        "PRAGMA [page_size] /* c */ = 512",
        "PRAGMA wal_checkpoint",
        "PRAGMA wal_checkpoint(TRUNCATE)",
        "VACUUM main INTO 'x'",
        "BEGIN CONCURRENT",
        "detach x",
    ] {
        assert!(matches!(inspect(sql), Err(Error::Refused(_))), "{sql}");
    }
}

/// Depth is what a parser must descend, not length.
#[test]
fn too_deep() {
    let deep = |n: usize| {
        [
            (
                MAX_BRACKETS,
                format!("SELECT {}1{}", "(".repeat(n), ")".repeat(n)),
            ),
            (MAX_BRACKETS, format!("SELECT {}", "(".repeat(n))),
            (
                MAX_BRACKETS,
                format!("SELECT * FROM {}x", "(SELECT * FROM ".repeat(n)),
            ),
            (MAX_BRACKETS, format!("{}SELECT 1", "WITH a AS (".repeat(n))),
            (MAX_DEPTH, format!("SELECT {}1", "NOT ".repeat(n))),
            (MAX_DEPTH, format!("SELECT {}1", "- ".repeat(n))),
            (MAX_DEPTH, format!("SELECT 1{}", " || 1".repeat(n))),
            (
                MAX_DEPTH,
                format!("SELECT {}1", "CASE WHEN 1 THEN ".repeat(n)),
            ),
            (
                MAX_COMPOUND,
                format!("SELECT 1{}", " UNION SELECT 1".repeat(n)),
            ),
            (
                MAX_DEPTH,
                format!("SELECT 1{}", " COLLATE BINARY".repeat(n)),
            ),
            (MAX_DEPTH, format!("{}SELECT 1", "EXPLAIN ".repeat(n))),
            (
                MAX_DEPTH,
                format!(
                    "CREATE TRIGGER t AFTER INSERT ON x BEGIN SELECT 1; SELECT {}1; END",
                    "~".repeat(n)
                ),
            ),
        ]
    };
    for limit in [MAX_BRACKETS, MAX_COMPOUND, MAX_DEPTH] {
        for (_, sql) in deep(limit + 1).iter().filter(|(its, _)| *its == limit) {
            assert!(inspect(sql).is_err(), "{}", &sql[..60]);
        }
        for (_, sql) in deep(limit / 2 - 8).iter().filter(|(its, _)| *its == limit) {
            assert!(inspect(sql).is_ok(), "{}", &sql[..60]);
        }
    }
    let long = format!(
        "INSERT INTO t VALUES {}(1, -2, (3 + 4) * 5)",
        "(1, -2, (3 + 4) * 5), ".repeat(20_000)
    );
    assert!(inspect(&long).is_ok());
    assert!(
        inspect(&format!("SELECT '('{}", ", '('".repeat(2000))).is_ok(),
        "a text is not nested"
    );
}

/// A setting is found in all the forms that SQL has for it, and nothing else is taken for one.
#[test]
fn pragmas() {
    for (sql, name, value, rest) in [
        ("PRAGMA x", "x", None, ""),
        (
            " /* a */ pragma -- b\n main . X; SELECT 1",
            "X",
            None,
            " SELECT 1",
        ),
        ("pragma x=500", "x", Some("500"), ""),
        ("PRAGMA x = 'a b' ;", "x", Some("a b"), ""),
        ("PRAGMA \"x\"(off); -- c", "x", Some("off"), " -- c"),
        ("PRAGMA x =", "x", None, ""),
        ("PRAGMA x = -5 ; y", "x", Some("-5"), " y"),
        ("PRAGMA x(1.5)", "x", Some("1.5)"), ""),
        ("PRAGMA x y", "x", None, ""),
    ] {
        let found = pragma(sql).unwrap();
        assert_eq!((found.name, found.value), (name, value), "{sql}");
        assert_eq!(&sql[found.tail..], rest, "{sql}");
    }
    for sql in [
        "",
        "PRAGMA",
        "SELECT 1",
        "'pragma' x",
        "EXPLAIN PRAGMA x",
        "; PRAGMA x",
    ] {
        assert_eq!(pragma(sql), None, "{sql}");
    }
}

fn kind(sql: &str) -> Kind {
    inspect(sql).unwrap().kind
}

/// Reading a fixed setting, and everything ordinary, is allowed.
#[test]
fn allows_the_rest() {
    for sql in [
        "",
        "-- nothing",
        "/* unterminated",
        "'",
        ";ATTACH",
        "CREATE TABLE t(a)",
    ] {
        assert_eq!(kind(sql), Kind::Other, "{sql}");
    }
    for sql in [
        "PRAGMA journal_mode",
        "pragma page_size;",
        "PRAGMA table_info(t)",
    ] {
        assert_eq!(kind(sql), Kind::Other, "{sql}");
    }
    for sql in ["PRAGMA foreign_keys=off", "PRAGMA main.cache_size(10)"] {
        assert_eq!(kind(sql), Kind::Pragma, "{sql}");
    }
    assert_eq!(kind("begin immediate"), Kind::BeginWrite);
    assert_eq!(kind("BEGIN  EXCLUSIVE TRANSACTION;"), Kind::BeginWrite);
    assert_eq!(kind("begin"), Kind::Control);
    assert_eq!(kind("ROLLBACK TO x"), Kind::Control);
    assert_eq!(kind("INSERT INTO attach VALUES (1)"), Kind::Insert);
    assert_eq!(kind("replace into t values (1)"), Kind::Insert);
    assert_eq!(kind("DELETE FROM t"), Kind::Change);
    assert_eq!(kind("SELECT 'attach'"), Kind::Query);
    assert_eq!(kind("/* all */ VACUUM"), Kind::Vacuum);
    assert_eq!(kind("EXPLAIN VACUUM"), Kind::Query);
}

/// What makes a statement depend on its session is found wherever it stands, and however it is written.
#[test]
fn marks() {
    let marks = |sql: &str| inspect(sql).unwrap().marks;
    assert_eq!(marks("INSERT INTO t VALUES (1, 'a')"), Marks::default());
    for sql in [
        "SELECT last_insert_rowid()",
        "INSERT INTO t VALUES (1 + \"Changes\" ())",
        "CREATE TRIGGER x AFTER INSERT ON t BEGIN SELECT 1; SELECT [total_changes](); END",
    ] {
        assert!(marks(sql).observes, "{sql}");
    }
    assert!(marks("INSERT INTO t VALUES (1) RETURNING a").returning);
    assert!(marks("INSERT INTO t VALUES (1) on /* */ Conflict DO NOTHING").conflict);
    assert!(marks("INSERT OR ROLLBACK INTO t VALUES (1)").rollback);
    assert!(marks("INSERT INTO temp.t VALUES (1)").temporary);
    assert!(marks("CREATE TEMPORARY TABLE t(a)").temporary);
}

/// Protects: on a big-endian machine no wrong vector is computed or stored; elsewhere, and where a name only looks like
/// a vector function, nothing is refused.
#[test]
fn vector_functions() {
    for sql in [
        "SELECT vector_distance_l2(a, b) FROM t",
        "INSERT INTO t VALUES (VECTOR32 /* */ ('[1, 2]'))",
        "CREATE TRIGGER x AFTER INSERT ON t BEGIN SELECT 1; SELECT \"vector\"('[1]'); END",
    ] {
        assert!(Nesting::of(sql).vectors, "{sql}");
        assert_eq!(inspect(sql).is_err(), VECTORS_ARE_WRONG, "{sql}");
    }
    for sql in [
        "SELECT vector FROM t WHERE (vector, 1) = (2, 3)",
        "SELECT my_vector(1)",
    ] {
        assert!(!Nesting::of(sql).vectors, "{sql}");
    }
}
