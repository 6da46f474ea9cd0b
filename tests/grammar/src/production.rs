//! The names of what the grammar can produce, so that a test can say that all of it is produced, and a measurement which of
//! it succeeds.

use std::str::FromStr;

macro_rules! productions {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// A part of the grammar.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Production {
            $($(#[$doc])* $name,)*
        }

        impl Production {
            /// All there are.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];
        }

        /// Its name, as it is written here.
        impl FromStr for Production {
            type Err = String;

            fn from_str(name: &str) -> Result<Self, String> {
                match name {
                    $(stringify!($name) => Ok(Self::$name),)*
                    _ => Err(format!("the grammar has no production {name}")),
                }
            }
        }
    };
}

productions! {
    /// `CREATE TABLE`.
    CreateTable,
    /// `INTEGER PRIMARY KEY AUTOINCREMENT`.
    Autoincrement,
    /// `WITHOUT ROWID`.
    WithoutRowid,
    /// `NOT NULL`.
    NotNull,
    /// `UNIQUE` in a table's definition.
    Unique,
    /// `CHECK`.
    Check,
    /// `DEFAULT`.
    Default,
    /// `REFERENCES`.
    ForeignKey,
    /// `DEFERRABLE INITIALLY DEFERRED`.
    Deferred,
    /// `DROP TABLE`.
    DropTable,
    /// `ALTER TABLE … ADD COLUMN`.
    AddColumn,
    /// `ALTER TABLE … DROP COLUMN`.
    DropColumn,
    /// `ALTER TABLE … RENAME COLUMN`.
    RenameColumn,
    /// `ALTER TABLE … RENAME TO`.
    RenameTable,
    /// `CREATE INDEX`.
    CreateIndex,
    /// `CREATE UNIQUE INDEX`.
    UniqueIndex,
    /// An index with a `WHERE`.
    PartialIndex,
    /// An index on an expression.
    ExpressionIndex,
    /// `DROP INDEX`.
    DropIndex,
    /// `REINDEX`.
    Reindex,
    /// `ANALYZE`.
    Analyze,
    /// `CREATE TRIGGER`.
    CreateTrigger,
    /// A trigger that may raise an error.
    Raise,
    /// `DROP TRIGGER`.
    DropTrigger,
    /// `CREATE VIEW`.
    CreateView,
    /// `DROP VIEW`.
    DropView,
    /// `INSERT` of a row.
    Insert,
    /// `INSERT` of several rows.
    InsertRows,
    /// `INSERT … DEFAULT VALUES`.
    InsertDefaults,
    /// `INSERT … SELECT`.
    InsertSelect,
    /// `OR REPLACE` and its like.
    OrConflict,
    /// `ON CONFLICT DO UPDATE`.
    UpsertUpdate,
    /// `ON CONFLICT DO NOTHING`.
    UpsertNothing,
    /// `RETURNING`.
    Returning,
    /// `UPDATE`.
    Update,
    /// `DELETE`.
    Delete,
    /// `DELETE` of all rows.
    DeleteAll,
    /// `SELECT` from one table.
    Select,
    /// `SELECT` by key.
    SelectKey,
    /// A join.
    Join,
    /// A `LEFT JOIN`.
    LeftJoin,
    /// A query within an expression.
    Subquery,
    /// `EXISTS`.
    Exists,
    /// An aggregate over all rows.
    Aggregate,
    /// `GROUP BY`.
    GroupBy,
    /// `HAVING`.
    Having,
    /// `DISTINCT`.
    Distinct,
    /// `ORDER BY` and `LIMIT`.
    Limit,
    /// `UNION` and its like.
    Compound,
    /// `WITH`.
    CommonTable,
    /// `WITH RECURSIVE`.
    Recursive,
    /// A window function.
    Window,
    /// A query of a view.
    SelectView,
    /// A query of the schema.
    SelectSchema,
    /// `random()` or `randomblob()`: the answer is not determined.
    Random,
    /// `zeroblob()`.
    Zeroblob,
    /// A parameter of more than a page.
    BigValue,
    /// `BEGIN` … `COMMIT`.
    Transaction,
    /// `BEGIN IMMEDIATE`.
    Immediate,
    /// A transaction that ends with `ROLLBACK`.
    Rollback,
    /// `SAVEPOINT`.
    Savepoint,
    /// `RELEASE`.
    Release,
    /// `ROLLBACK TO`.
    RollbackTo,
    /// A savepoint within a savepoint.
    NestedSavepoint,
    /// A transaction that changes hundreds of pages.
    LargeTransaction,
    /// `VACUUM`.
    Vacuum,
    /// `PRAGMA integrity_check` or `quick_check`.
    IntegrityCheck,
    /// `PRAGMA user_version = …`.
    SetUserVersion,
    /// `PRAGMA foreign_keys = …`.
    ForeignKeysSetting,
    /// A pragma that tells something.
    TellingPragma,
}
