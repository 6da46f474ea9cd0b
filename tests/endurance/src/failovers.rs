//! Failovers: what is done to whoever leads, and how long nobody could write after it.
//!
//! They come in turn. A leader is *killed*, and started again at once. It is *suspended* for some seconds, and wakes up in a
//! cluster that has gone on without it. And it *hands over* to another node, as it does before it is stopped for good.
//!
//! The second is the one in which wrong reads come about, so it is made as hard as it can be: before the leader is suspended,
//! clients connect to it that stay with it; once another leads and has acknowledged writes, they send it reads, which it
//! finds when it wakes up, beside everything else that was on its way to it when it fell asleep.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ferrolite_client::{Client, Session};
use ferrolite_processes::{Result, eventually};
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until, timeout};

use crate::cluster::Cluster;
use crate::ledger::{Ledger, REGISTERS};
use crate::readers;

/// Clients that stay with a leader that is suspended.
const PROBES: usize = 12;
/// For how long a leader is suspended, in milliseconds.
const SUSPENDED_MS: std::ops::Range<u64> = 2_000..6_000;
/// Reads are sent this long before their node wakes up, so that it finds them.
const SENT_BEFORE: Duration = Duration::from_millis(300);
/// A pause that is longer is wrong: an election takes one second, and writers give a silent leader up after two.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// A handover may be refused, and is asked for again, so many times.
const HANDOVERS: usize = 5;
const BETWEEN_HANDOVERS: Duration = Duration::from_millis(500);

/// What is done to the leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Killed,
    Suspended,
    HandedOver,
}

/// In this order, again and again.
pub(crate) const KINDS: [Kind; 3] = [Kind::Killed, Kind::Suspended, Kind::HandedOver];

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Killed => "killed",
            Self::Suspended => "suspended",
            Self::HandedOver => "handed over",
        })
    }
}

/// What became of a failover.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Failover {
    pub(crate) kind: Kind,
    /// Since the load began.
    pub(crate) at: Duration,
    pub(crate) leader: u64,
    /// The longest time without an acknowledged row from then until the next failover.
    pub(crate) pause: Duration,
}

/// Makes failovers.
pub(crate) struct Failovers<'a> {
    pub(crate) cluster: &'a mut Cluster,
    pub(crate) ledger: &'a Arc<Ledger>,
    pub(crate) client: &'a Client,
    pub(crate) period: Duration,
    pub(crate) random: fastrand::Rng,
    pub(crate) begun: Instant,
    pub(crate) done: &'a mut Vec<Failover>,
}

impl Failovers<'_> {
    /// Makes one after the other, one in each period.
    ///
    /// # Errors
    /// When a node does not start, or the cluster does not come back.
    pub(crate) async fn run(&mut self) -> Result<()> {
        let mut due = self.begun;
        for kind in KINDS.into_iter().cycle() {
            due = (due + self.period).max(Instant::now());
            sleep_until(due.into()).await;
            if let Some(wrong) = self.cluster.ended_by_themselves()?.first() {
                return Err(wrong.clone().into());
            }
            let leader = self.cluster.leader(None).await?.id;
            self.note_pause();
            self.done.push(Failover {
                kind,
                at: self.begun.elapsed(),
                leader,
                pause: Duration::ZERO,
            });
            match kind {
                Kind::Killed => self.kill(leader).await?,
                Kind::Suspended => self.suspend(leader).await?,
                Kind::HandedOver => self.hand_over(leader).await?,
            }
            let rows = self.ledger.acknowledged_rows();
            eventually(
                &format!("rows are acknowledged after the leader was {kind}"),
                async || Ok((self.ledger.acknowledged_rows() > rows).then_some(())),
            )
            .await?;
        }
        Ok(())
    }

    /// Notes how long the longest pause since the last failover was.
    pub(crate) fn note_pause(&mut self) {
        let pause = self.ledger.take_longest_pause();
        if let Some(last) = self.done.last_mut() {
            last.pause = last.pause.max(pause);
        }
        if pause > LONGEST_PAUSE {
            let seconds = pause.as_secs_f64();
            self.ledger
                .report(format!("for {seconds:.1} s no row was acknowledged"));
        }
    }

    async fn kill(&mut self, leader: u64) -> Result<()> {
        self.cluster.node(leader)?.kill()?;
        self.cluster.restart(leader).await
    }

    async fn suspend(&mut self, leader: u64) -> Result<()> {
        let sleeps = Duration::from_millis(self.random.u64(SUSPENDED_MS));
        let address = self.cluster.node(leader)?.address.clone();
        let mut sessions = Vec::new();
        for _ in 0..PROBES {
            let mut session = self.client.session().await?;
            // One that has its database open already, and answers what it is sent at once.
            readers::probe(&mut session, self.ledger, 0).await;
            if session.address() == address {
                sessions.push(session);
            }
        }
        self.cluster.node(leader)?.suspend()?;
        let suspended = Instant::now();
        let known = self.known();
        self.cluster.leader(Some(leader)).await?;
        eventually("a register is written to the next leader", async || {
            Ok((self.known() > known).then_some(()))
        })
        .await?;
        sleep_until((suspended + sleeps).into()).await;
        let mut probes = JoinSet::new();
        for (nth, session) in sessions.into_iter().enumerate() {
            let ledger = Arc::clone(self.ledger);
            probes.spawn(probe(session, ledger, nth % REGISTERS));
        }
        sleep(SENT_BEFORE).await;
        self.cluster.node(leader)?.resume()?;
        // They end within the client's timeout for an answer.
        while probes.join_next().await.is_some() {}
        Ok(())
    }

    /// All that is known of registers: it grows when any of them is written or read.
    fn known(&self) -> i64 {
        self.ledger.registers.iter().map(|one| one.known()).sum()
    }

    async fn hand_over(&mut self, leader: u64) -> Result<()> {
        let others: Vec<u64> = (self.cluster.nodes.iter().map(|node| node.id))
            .filter(|id| *id != leader)
            .collect();
        let to = self.random.choice(others).unwrap_or_default();
        for _ in 0..HANDOVERS {
            let asked = timeout(Duration::from_secs(10), self.client.transfer(to)).await;
            // What was answered with an error may have come about all the same.
            if matches!(asked, Ok(Ok(()))) || self.cluster.leader(None).await?.id == to {
                return Ok(());
            }
            sleep(BETWEEN_HANDOVERS).await;
        }
        Err(format!("leadership was not handed over to node {to}, asked {HANDOVERS} times").into())
    }
}

async fn probe(mut session: Session, ledger: Arc<Ledger>, register: usize) {
    for _ in 0..20 {
        readers::probe(&mut session, &ledger, register).await;
        if session.is_closed() {
            return;
        }
    }
}
