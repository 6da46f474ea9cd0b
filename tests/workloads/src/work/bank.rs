//! Money is transferred between accounts, and all of them are read.
//!
//! A transfer is either a transaction that reads both balances and writes both anew, which shows updates that are lost, or a
//! single statement that changes two rows and has to be undone as a whole if the second violates the constraint that no account
//! is overdrawn. All are read either in one statement or one by one in a transaction, which shows snapshots that move.

use super::Workload;
use crate::check::Violation;
use crate::check::bank::{Accounts, Answer, Question, check};
use crate::connection::{Connection, Failure};
use crate::history::History;
use crate::transaction::{Begin, Manner, Stop, Transaction};
use crate::value::Value;

pub(crate) const CREATE: &str = "CREATE TABLE IF NOT EXISTS bank_account\
    (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL CHECK (balance >= 0))";
pub(crate) const OPEN: &str = "INSERT OR IGNORE INTO bank_account(id, balance) VALUES (?, ?)";
pub(crate) const READ: &str = "SELECT balance FROM bank_account WHERE id = ?";
pub(crate) const READ_ALL: &str = "SELECT id, balance FROM bank_account ORDER BY id";
pub(crate) const WRITE: &str = "UPDATE bank_account SET balance = ? WHERE id = ?";
pub(crate) const TRANSFER: &str = "UPDATE bank_account SET balance = balance + CASE id WHEN ? THEN ? ELSE ? END \
    WHERE id IN (?, ?)";

/// The most that is transferred at once.
const MOST: i64 = 5;

/// Transfers between accounts.
#[derive(Debug)]
pub struct Bank {
    accounts: Accounts,
    history: History<Question, Answer>,
}

impl Default for Bank {
    fn default() -> Self {
        Self {
            accounts: Accounts {
                count: 8,
                balance: 10,
                overdraft: false,
            },
            history: History::default(),
        }
    }
}

impl Bank {
    async fn transfer<C: Connection>(
        connection: &mut C,
        (from, to, amount): (i64, i64, i64),
        manner: Manner,
    ) -> Result<Answer, Stop> {
        let mut transaction = Transaction::begin(connection, manner).await?;
        if manner.begin == Begin::Autocommit {
            let params = [from, -amount, amount, from, to].map(Value::from);
            let changed = transaction.execute(TRANSFER, &params).await?;
            if changed != 2 {
                return Err(Stop::odd(format!("{changed} accounts were changed")));
            }
            transaction.end().await?;
            return Ok(Answer::Transferred);
        }
        for (account, change) in [(from, -amount), (to, amount)] {
            let balance = balance(transaction.query(READ, &[account.into()]).await?)?;
            if balance + change < 0 {
                return Err(transaction.rollback("not enough money").await);
            }
            let params = [balance + change, account].map(Value::from);
            let changed = transaction.execute(WRITE, &params).await?;
            if changed != 1 {
                return Err(Stop::odd(format!("{changed} accounts were changed")));
            }
        }
        transaction.end().await?;
        Ok(Answer::Transferred)
    }

    async fn read<C: Connection>(
        &self,
        connection: &mut C,
        manner: Manner,
    ) -> Result<Answer, Stop> {
        let mut transaction = Transaction::begin(connection, manner).await?;
        let mut balances = Vec::new();
        if manner.begin == Begin::Autocommit {
            for row in transaction.query(READ_ALL, &[]).await? {
                match row.as_slice() {
                    [Value::Integer(id), Value::Integer(balance)] => balances.push((*id, *balance)),
                    other => return Err(Stop::odd(format!("a row of accounts is {other:?}"))),
                }
            }
        } else {
            for id in 0..self.accounts.count {
                balances.push((id, balance(transaction.query(READ, &[id.into()]).await?)?));
            }
        }
        transaction.end().await?;
        Ok(Answer::Balances(balances))
    }
}

fn balance(rows: Vec<Vec<Value>>) -> Result<i64, Stop> {
    match rows
        .iter()
        .map(Vec::as_slice)
        .collect::<Vec<_>>()
        .as_slice()
    {
        [[Value::Integer(balance)]] => Ok(*balance),
        other => Err(Stop::odd(format!("an account's balance is {other:?}"))),
    }
}

impl Workload for Bank {
    type Question = Question;
    type Answer = Answer;

    fn history(&self) -> &History<Question, Answer> {
        &self.history
    }

    async fn setup<C: Connection>(&self, connection: &mut C) -> Result<(), Failure> {
        connection.execute(CREATE, &[]).await?;
        for id in 0..self.accounts.count {
            let params = [id, self.accounts.balance].map(Value::from);
            connection.execute(OPEN, &params).await?;
        }
        Ok(())
    }

    fn plan(&self, rng: &mut fastrand::Rng) -> (Question, Manner) {
        let manner = Manner::any(rng);
        if rng.u8(..3) == 0 {
            return (Question::Read, manner);
        }
        let count = self.accounts.count;
        let from = rng.i64(0..count);
        let to = (from + rng.i64(1..count)) % count;
        let amount = rng.i64(1..=MOST);
        (Question::Transfer { from, to, amount }, manner)
    }

    fn last(&self) -> Vec<Question> {
        vec![Question::Read]
    }

    async fn attempt<C: Connection>(
        &self,
        connection: &mut C,
        question: &mut Question,
        manner: Manner,
    ) -> Result<Answer, Stop> {
        match *question {
            Question::Transfer { from, to, amount } => {
                Self::transfer(connection, (from, to, amount), manner).await
            }
            Question::Read => self.read(connection, manner).await,
        }
    }

    fn judge(&self) -> Result<(), Violation> {
        self.history
            .with(|operations| check(self.accounts, operations))
    }
}
