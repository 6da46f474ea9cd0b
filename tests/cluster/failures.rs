//! Nodes die, come back, join and leave while clients write.

use rustix::process::Signal;

use crate::harness::{Cluster, Load, Tally, files};

/// Protects: an acknowledged row outlives whatever happens to a minority, and members may come and go meanwhile;
/// no row is there twice or against what its writer was told, and no transaction by halves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_outlive_failures_and_changes_of_members() {
    let mut cluster = Cluster::start(3).await;
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
    assert_end(&mut cluster, &tally).await;
}

/// Protects: what a quorum has written is on disks and not only in memories. Everything dies at once, three times.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_outlive_the_death_of_all_nodes() {
    let mut cluster = Cluster::start(3).await;
    let mut tally = Tally::default();
    for round in 0..3 {
        let load = Load::start(&cluster.builder(), round, 4).await;
        load.proceed(150).await;
        // Suspended first, they all stop in the middle of what they do, at about the same time.
        for id in 1..=3 {
            cluster.node(id).signal(Signal::STOP);
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
        load.proceed(20).await;
        tally.add(load.end().await);
        tally.check(&cluster.client().await).await;
    }
    assert_end(&mut cluster, &tally).await;
}

/// Holds the leader's answers and every node's file against what the writers were told.
async fn assert_end(cluster: &mut Cluster, tally: &Tally) {
    assert!(
        tally.acknowledged() > 300,
        "a load of {} rows proves little",
        tally.acknowledged()
    );
    tally.check(&cluster.client().await).await;
    let ids = cluster.running();
    cluster.stop().await;
    let first = cluster.node(ids[0]).database("main");
    files::assert_sound(&first);
    tally.check_file(&first);
    for id in ids {
        files::assert_same(&first, &cluster.node(id).database("main"));
    }
}
