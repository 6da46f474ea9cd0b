//! Nodes die, come back, join and leave while clients write.

use std::time::Duration;

use crate::harness::{Cluster, Load, Tally, eventually, files};

/// Protects: an acknowledged row outlives whatever happens to a minority, and members may come and go meanwhile;
/// no row is there twice or against what its writer was told, and no transaction by halves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_outlive_failures_and_changes_of_members() {
    let mut cluster = Cluster::with_options(3, &[]).await;
    let load = Load::start(&cluster.builder(), 0, 4).await;
    load.proceed(50).await;
    for newcomer in [4, 5, 6] {
        let killed = cluster.leader().await;
        cluster.node(killed).kill();
        cluster.leader().await;
        load.proceed(50).await;
        cluster.node(killed).start(&[]).await;
        cluster.caught_up(killed).await;

        let killed = cluster.follower().await;
        cluster.node(killed).kill();
        load.proceed(50).await;
        cluster.node(killed).start(&[]).await;
        cluster.caught_up(killed).await;

        cluster.join(newcomer).await;
        cluster.promote(newcomer).await;
        cluster.caught_up(newcomer).await;
        cluster.transfer(newcomer).await;
        load.proceed(50).await;

        let leaves = cluster.follower().await;
        cluster.remove(leaves).await;
        load.proceed(50).await;
        cluster.discard(leaves);
    }
    load.proceed(50).await;
    let tally = load.end().await;
    assert_end(&mut cluster, &[("main", &tally)]).await;
}

/// Protects: what a leader had under way when it lost its office. It is suspended in the middle of the load and wakes up
/// in a cluster that has gone on without it; what it wrote and nobody else has is undone, and was acknowledged to nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_outlive_leaders_that_wake_up_late() {
    let mut cluster = Cluster::with_options(3, &[]).await;
    let load = Load::start(&cluster.builder(), 0, 4).await;
    for _ in 0..3 {
        load.proceed(50).await;
        let old = cluster.leader().await;
        let others: Vec<u64> = (1..=3).filter(|id| *id != old).collect();
        cluster.node(old).suspend().await;
        cluster.leader_among(&others).await;
        load.proceed(50).await;
        cluster.node(old).resume();
        cluster.caught_up(old).await;
    }
    let tally = load.end().await;
    assert_end(&mut cluster, &[("main", &tally)]).await;
}

/// Protects: what a quorum has written is on disks and not only in memories. Everything dies at once, three times,
/// while two databases share the log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_outlive_the_death_of_all_nodes() {
    let mut cluster = Cluster::with_options(3, &[]).await;
    let names = ["main", "another"];
    let mut tallies = [Tally::default(), Tally::default()];
    for round in 0..3 {
        let mut loads = Vec::new();
        for name in names {
            loads.push(Load::start(&cluster.builder().database(name), round, 3).await);
        }
        for load in &loads {
            load.proceed(100).await;
        }
        // Suspended first, they all stop in the middle of what they do, at about the same time.
        for id in 1..=3 {
            cluster.node(id).suspend().await;
        }
        for id in 1..=3 {
            cluster.node(id).kill();
        }
        for id in 1..=3 {
            cluster.node(id).spawn(&[]);
        }
        for id in 1..=3 {
            cluster.node(id).ready().await;
        }
        for load in &loads {
            load.proceed(20).await;
        }
        for ((load, tally), name) in loads.into_iter().zip(&mut tallies).zip(names) {
            tally.add(load.end().await);
            tally
                .check(&cluster.client().await.with_database(name))
                .await;
        }
    }
    assert_end(
        &mut cluster,
        &[(names[0], &tallies[0]), (names[1], &tallies[1])],
    )
    .await;
}

/// Protects: recovery that is itself interrupted. Nodes die and fall asleep while others are still coming back, two at
/// a time as well, so that the cluster stands still now and then; the order comes from a fixed seed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_outlive_failures_that_overlap() {
    let mut cluster = Cluster::with_options(3, &[]).await;
    let load = Load::start(&cluster.builder(), 0, 4).await;
    load.proceed(50).await;
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..16 {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let (victim, other) = (seed % 3 + 1, (seed + 1) % 3 + 1);
        match seed >> 32 & 3 {
            0 => {
                cluster.node(victim).kill();
                cluster.node(victim).start(&[]).await;
            }
            1 => {
                cluster.node(victim).kill();
                cluster.node(other).kill();
                cluster.node(victim).spawn(&[]);
                cluster.node(other).spawn(&[]);
                cluster.node(victim).ready().await;
                cluster.node(other).ready().await;
            }
            2 => {
                cluster.node(victim).suspend().await;
                cluster.node(other).kill();
                cluster.node(other).start(&[]).await;
                cluster.node(victim).resume();
            }
            _ => {
                cluster.node(victim).suspend().await;
                load.proceed(25).await;
                cluster.node(victim).resume();
            }
        }
        load.proceed(25).await;
    }
    let tally = load.end().await;
    assert_end(&mut cluster, &[("main", &tally)]).await;
}

/// Protects: a transaction that is too large for one entry of the log is there as a whole or not at all, whatever dies
/// in the middle of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_transactions_are_whole_or_absent() {
    const ROWS: i64 = 100;
    let mut cluster = Cluster::with_options(3, &[]).await;
    let client = cluster
        .builder()
        .answer_timeout(Duration::from_secs(5))
        .connect()
        .await
        .unwrap();
    client
        .execute("CREATE TABLE large(id INTEGER, noise BLOB)", ())
        .await
        .unwrap();
    let insert = "INSERT INTO large
        WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT ?2)
        SELECT ?1, randomblob(100000) FROM n";
    let (mut whole, mut absent) = (Vec::new(), Vec::new());
    for id in 0..6 {
        let leader = cluster.leader().await;
        let before = cluster.status(leader).await.unwrap().last;
        let under_way = tokio::spawn({
            let client = client.clone();
            async move { client.execute(insert, (id, ROWS)).await }
        });
        // Killed at different points: before the first entry is there, with some, and with all.
        eventually("the transaction is so far", async || {
            let done = under_way.is_finished();
            let last = cluster.status(leader).await?.last;
            (done || last >= before + (id as u64 % 3) * 2).then_some(())
        })
        .await;
        cluster.node(leader).kill();
        match under_way.await.unwrap() {
            Ok(_) => whole.push(id),
            Err(error) if error.is_outcome_unknown() => {}
            Err(_) => absent.push(id),
        }
        cluster.node(leader).start(&[]).await;
        cluster.caught_up(leader).await;
    }
    let counts = "SELECT id, count(*), min(length(noise)) FROM large GROUP BY id";
    let counts: Vec<(i64, i64, i64)> = client.query(counts, ()).await.unwrap();
    for (id, rows, shortest) in &counts {
        assert_eq!((*rows, *shortest), (ROWS, 100_000), "transaction {id}");
    }
    let there: Vec<i64> = counts.iter().map(|(id, ..)| *id).collect();
    assert!(
        whole.iter().all(|id| there.contains(id)),
        "acknowledged {whole:?}, there {there:?}"
    );
    assert!(
        absent.iter().all(|id| !there.contains(id)),
        "refused {absent:?}, there {there:?}"
    );
    assert_end(&mut cluster, &[]).await;
}

/// Holds the leader's answers and every node's file against what the writers of each database were told.
async fn assert_end(cluster: &mut Cluster, tallies: &[(&str, &Tally)]) {
    for (name, tally) in tallies {
        let rows = tally.acknowledged();
        assert!(rows > 300, "a load of {rows} rows proves little");
        tally
            .check(&cluster.client().await.with_database(name))
            .await;
    }
    let client = cluster.client().await;
    let names: Vec<String> = client
        .databases()
        .await
        .unwrap()
        .into_iter()
        .map(|found| found.name)
        .collect();
    let ids = cluster.running();
    cluster.stop().await;
    for name in names {
        let first = cluster.node(ids[0]).database(&name);
        files::assert_sound(&first);
        for id in &ids {
            files::assert_same(&first, &cluster.node(*id).database(&name));
        }
    }
    for (name, tally) in tallies {
        tally.check_file(&cluster.node(ids[0]).database(name));
    }
}
