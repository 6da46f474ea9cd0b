//! SQL drawn from a grammar: what simulated clients send to a database.
//!
//! A [`Generator`] is one client. From a seed and a [`Profile`] it makes an endless row of [`Step`]s, each of which is what a
//! client does without a pause: one statement, or a transaction from its BEGIN to its COMMIT or ROLLBACK. Same seed, same
//! text and parameters, byte for byte; nothing here looks at a clock or at what a database has answered.
//!
//! **Many clients, no knowledge.** Generators work on the same database at the same time and know nothing of each other, so
//! none knows which tables there are. What makes their statements succeed all the same, mostly, is a small fixed universe
//! that they share: tables `t0` to `t5`, of which each column has its place and kind (`c0` a key, `c1` an integer, `c2` a
//! text, `c3` a real, `c4` a blob, `c5` anything), indexes `i0` to `i9`, triggers `g0` to `g5` and views `v0` to `v3`. `t6`
//! and `c6` are where something is renamed to that will soon be renamed back. An error (`no such table`, a constraint that
//! fails, `no such savepoint`) is a normal answer.
//!
//! **What a runner has to do.** It sends the statements of a step in order. When one fails it may go on with the next or roll
//! back and leave the rest out, as clients do. A step leaves no transaction open if all its statements have succeeded; where
//! one has failed the runner says ROLLBACK behind the step, and takes no harm from its error.
//!
//! **What may be compared.** Where [`Statement::ordered`] says so, an answer is one that the contents of the database
//! determine, row by row. Otherwise the rows may come in any order; but which ones they are is determined, since a LIMIT comes
//! only behind a defined order. All that does not hold for statements whose [`productions`](Statement::productions) name
//! [`Production::Random`].
//!
//! **What is left out.** Everything a replicated database refuses (ATTACH, VACUUM INTO, settings of the file), and what the
//! engine does not have or does otherwise than SQLite, as the README lists it: bare columns beside `max()`, ORDER BY on
//! UPDATE and DELETE, `||` of two blobs, texts made of a blob that is no UTF-8 (which has stock SQLite say that rows are missing
//! from an index on such an expression). Triggers act only on tables of a higher number, so that none sets itself off, and
//! what is inserted from a query is a few rows at most: data do not grow without end.
//!
//! ```
//! use ferrolite_grammar::{Generator, Profile};
//!
//! let mut rng = fastrand::Rng::with_seed(7);
//! let profile = Profile::draw(&mut rng);
//! let mut client = Generator::new(rng, profile);
//! for _ in 0..3 {
//!     for statement in client.next_step().statements {
//!         println!("{} with {} parameters", statement.sql, statement.params.len());
//!     }
//! }
//! ```

mod change;
mod draft;
mod expression;
mod generator;
mod names;
mod production;
mod profile;
mod query;
mod schema;
mod statement;
mod values;

pub use generator::Generator;
pub use production::Production;
pub use profile::Profile;
pub use statement::{Kind, Statement, Step, Value};
