//! One node that dies again and again.

use crate::harness::{Cluster, Load, files};

const ROUNDS: u64 = 200;

/// Protects: what one disk alone has to keep. The only node of a cluster is killed in the middle of its work, two
/// hundred times, after a different amount of work each time; whatever it acknowledged before any of these deaths is
/// there in the end, and once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_outlive_two_hundred_deaths() {
    // Little is written between two checkpoints, so that deaths fall into checkpoints as well.
    let mut cluster = Cluster::with_options(1, &["--log-mib", "1"]).await;
    let load = Load::start(&cluster.builder(), 0, 4).await;
    for round in 0..ROUNDS {
        // From hardly anything to some checkpoints.
        load.proceed(1 + round * 37 % 101).await;
        cluster.node(1).kill();
        cluster.node(1).start(&[]).await;
    }
    load.proceed(50).await;
    let tally = load.end().await;
    let client = cluster.client().await;
    tally.check(&client).await;
    cluster.stop().await;
    files::assert_sound(&cluster.node(1).database("main"));
}
