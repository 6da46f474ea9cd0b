//! Accounts, in histories written down by hand and made at random.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use proptest::prelude::*;

use super::{Accounts, Answer, Operation, Question, check};
use crate::check::Anomaly;
use crate::check::made::{Shape, anomaly, failed, history, ok, unknown};
use crate::history::Outcome;

const ACCOUNTS: Accounts = Accounts {
    count: 3,
    balance: 10,
    overdraft: false,
};

fn transfers(from: i64, to: i64, amount: i64) -> Question {
    Question::Transfer { from, to, amount }
}

fn transfer(start: u64, end: u64, from: i64, to: i64, amount: i64) -> Operation {
    ok(start, end, transfers(from, to, amount), Answer::Transferred)
}

fn read(start: u64, end: u64, balances: [i64; 3]) -> Operation {
    let balances = (0..).zip(balances).collect();
    ok(start, end, Question::Read, Answer::Balances(balances))
}

#[test]
fn what_can_be_passes() {
    let good: &[&[Operation]] = &[
        &[read(0, 1, [10, 10, 10])],
        &[transfer(0, 1, 0, 1, 4), read(2, 3, [6, 14, 10])],
        &[
            transfer(0, 5, 0, 1, 4),
            read(1, 2, [10, 10, 10]),
            read(3, 4, [6, 14, 10]),
        ],
        &[
            unknown(0, transfers(0, 1, 4)),
            read(1, 2, [10, 10, 10]),
            read(3, 4, [6, 14, 10]),
        ],
        &[failed(0, 1, transfers(0, 1, 4)), read(2, 3, [10, 10, 10])],
    ];
    for operations in good {
        assert_eq!(check(ACCOUNTS, operations), Ok(()), "{operations:?}");
    }
}

#[test]
fn what_cannot_be_is_found() {
    let bad: &[(Anomaly, &[Operation])] = &[
        // Half a transfer.
        (
            Anomaly::WrongTotal,
            &[transfer(0, 3, 0, 1, 4), read(1, 2, [6, 10, 10])],
        ),
        (
            Anomaly::WrongTotal,
            &[transfer(0, 3, 0, 1, 4), read(1, 2, [10, 14, 10])],
        ),
        (
            Anomaly::NegativeBalance,
            &[transfer(0, 1, 0, 1, 14), read(2, 3, [-4, 24, 10])],
        ),
        // A transfer that is lost, or was not seen when it had to be.
        (
            Anomaly::WrongBalance,
            &[transfer(0, 1, 0, 1, 4), read(2, 3, [10, 10, 10])],
        ),
        // One that was not invoked yet, one that failed, and one that was done twice.
        (
            Anomaly::WrongBalance,
            &[read(0, 1, [6, 14, 10]), transfer(2, 3, 0, 1, 4)],
        ),
        (
            Anomaly::WrongBalance,
            &[failed(0, 1, transfers(0, 1, 4)), read(2, 3, [6, 14, 10])],
        ),
        (
            Anomaly::WrongBalance,
            &[transfer(0, 1, 0, 1, 4), read(2, 3, [2, 18, 10])],
        ),
    ];
    for (expected, operations) in bad {
        assert_eq!(
            anomaly(check(ACCOUNTS, operations)),
            Some(*expected),
            "{operations:?}"
        );
    }
    let missing = ok(
        0,
        1,
        Question::Read,
        Answer::Balances(vec![(0, 10), (1, 20)]),
    );
    assert_eq!(
        anomaly(check(ACCOUNTS, &[missing])),
        Some(Anomaly::Malformed)
    );
}

#[test]
fn an_overdraft_may_be_allowed() {
    let accounts = Accounts {
        overdraft: true,
        ..ACCOUNTS
    };
    let operations = [transfer(0, 1, 0, 1, 14), read(2, 3, [-4, 24, 10])];
    assert_eq!(check(accounts, &operations), Ok(()));
}

fn made(shape: Shape, count: usize) -> Vec<Operation> {
    let mut rng = fastrand::Rng::with_seed(!shape.seed);
    let mut balances = [ACCOUNTS.balance; 3];
    let mut questions = Vec::new();
    // Too little money is no failure here: such a transfer is not asked for.
    for _ in 0..count {
        let from = rng.i64(0..3);
        questions.push(match rng.bool() {
            true => transfers(from, (from + rng.i64(1..3)) % 3, rng.i64(1..3)),
            false => Question::Read,
        });
    }
    history(shape, questions, |question, done| {
        if let Question::Transfer { from, to, amount } = question {
            let [from, to] = [*from, *to].map(|account| usize::try_from(account).unwrap());
            // An amount of nothing is what a transfer becomes for which there is no money.
            *amount = balances[from].min(*amount);
            if done {
                balances[from] -= *amount;
                balances[to] += *amount;
            }
            return Answer::Transferred;
        }
        Answer::Balances((0..).zip(balances).collect())
    })
}

proptest! {
    /// What a bank did is never found wrong.
    #[test]
    fn histories_of_a_bank_pass(seed: u64, spread in 1..9_u64, trouble in 0..30_u64, count in 0..200_usize) {
        let operations = made(Shape { seed, spread, trouble }, count);
        prop_assert_eq!(check(ACCOUNTS, &operations), Ok(()));
    }

    /// Money from nowhere is found, and so is more of it than anybody can have.
    #[test]
    fn wrong_reads_are_found(seed: u64, spread in 1..6_u64, trouble in 0..20_u64, count in 20..100_usize, changed in 0..3_usize) {
        let mut operations = made(Shape { seed, spread, trouble }, count);
        let mut reads = operations.iter_mut().filter_map(|operation| match &mut operation.outcome {
            Outcome::Ok(Answer::Balances(balances)) => Some(balances),
            _ => None,
        });
        let Some(balances) = reads.next() else { return Ok(()) };
        balances[changed].1 += 1;
        prop_assert_eq!(anomaly(check(ACCOUNTS, &operations)), Some(Anomaly::WrongTotal));
    }
}
