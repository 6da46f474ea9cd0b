//! How often what is drawn: a client's temper.

use fastrand::Rng;

/// Weights of what a generator may do in a step, and some probabilities. A weight of 0 leaves its kind out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profile {
    /// Weight of queries.
    pub reads: u32,
    /// Weight of single writes.
    pub writes: u32,
    /// Weight of transactions of several statements.
    pub transactions: u32,
    /// Weight of changes of the schema.
    pub schema: u32,
    /// Weight of pragmas, integrity checks and settings.
    pub pragmas: u32,
    /// Weight of transactions that change hundreds of pages.
    pub large: u32,
    /// Weight of VACUUM.
    pub vacuum: u32,
    /// How many texts and blobs of a thousand have more than a few hundred bytes.
    pub big_values_per_mille: u32,
    /// How many transactions of a hundred are rolled back.
    pub rollbacks_percent: u32,
    /// The most statements in a transaction, without savepoints.
    pub transaction_statements: usize,
}

impl Profile {
    /// A little of everything.
    #[must_use]
    pub const fn mixed() -> Self {
        Self {
            reads: 400,
            writes: 400,
            transactions: 150,
            schema: 60,
            pragmas: 15,
            large: 4,
            vacuum: 1,
            big_values_per_mille: 30,
            rollbacks_percent: 20,
            transaction_statements: 8,
        }
    }

    /// Mostly writes.
    #[must_use]
    pub const fn write_heavy() -> Self {
        Self {
            reads: 150,
            writes: 700,
            transactions: 250,
            schema: 20,
            ..Self::mixed()
        }
    }

    /// Mostly queries.
    #[must_use]
    pub const fn read_heavy() -> Self {
        Self {
            reads: 850,
            writes: 150,
            transactions: 50,
            schema: 20,
            ..Self::mixed()
        }
    }

    /// Many changes of the schema.
    #[must_use]
    pub const fn schema_heavy() -> Self {
        Self {
            reads: 250,
            writes: 300,
            schema: 300,
            vacuum: 4,
            ..Self::mixed()
        }
    }

    /// Large values and large transactions.
    #[must_use]
    pub const fn large() -> Self {
        Self {
            reads: 200,
            large: 60,
            big_values_per_mille: 250,
            transaction_statements: 20,
            ..Self::mixed()
        }
    }

    /// One of them, with weights that are moved about.
    #[must_use]
    pub fn draw(rng: &mut Rng) -> Self {
        let chosen = match rng.u8(0..8) {
            0..=2 => Self::mixed(),
            3 | 4 => Self::write_heavy(),
            5 => Self::read_heavy(),
            6 => Self::schema_heavy(),
            _ => Self::large(),
        };
        // Between a half and the double.
        let mut scale = |weight: u32| weight * rng.u32(50..=200) / 100;
        Self {
            reads: scale(chosen.reads),
            writes: scale(chosen.writes),
            transactions: scale(chosen.transactions),
            schema: scale(chosen.schema),
            pragmas: scale(chosen.pragmas),
            large: scale(chosen.large),
            vacuum: scale(chosen.vacuum),
            big_values_per_mille: scale(chosen.big_values_per_mille).min(1000),
            rollbacks_percent: scale(chosen.rollbacks_percent).min(100),
            transaction_statements: rng.usize(2..=2 * chosen.transaction_statements),
        }
    }
}

impl Default for Profile {
    fn default() -> Self {
        Self::mixed()
    }
}
