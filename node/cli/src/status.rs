//! `ferrolite status`: is the cluster well?
//!
//! Every node is asked at the same time whether it answers and whom it takes for the leader. The exit
//! status is 0 if a majority of the voters answers and agrees on a leader, else 1, so that the command
//! serves as a health check.

use std::time::{Duration, Instant};

use clap::Args;
use ferrolite_client::{Client, NodeInfo, Role};
use serde_json::{Value as Json, json};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::cluster;
use crate::error::{Error, Result};
use crate::interrupt::Interrupts;
use crate::report::{Report, ReportFormat};
use crate::servers::Servers;

/// How long a node may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// The arguments of `ferrolite status`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  ferrolite status --servers db1:9001,db2:9001,db3:9001
  ferrolite status --format json | jq '.nodes[].answers'

The exit status is 0 if a majority of the voters answers and agrees on the leader, else 1.")]
pub struct StatusArgs {
    /// Where the cluster is.
    #[command(flatten)]
    pub servers: Servers,
    /// How to write the answer
    #[arg(long, value_enum, default_value_t)]
    pub format: ReportFormat,
}

/// What a node answered.
struct Answer {
    node: NodeInfo,
    result: Result<Heard, String>,
}

struct Heard {
    round_trip: Duration,
    /// The address of the leader, by this node's word.
    leader: Option<String>,
    /// Its state, where it is a Ferrolite node.
    state: Option<Json>,
}

/// Runs `ferrolite status`.
///
/// # Errors
/// When no leader is found, or no majority answers.
pub async fn run(args: StatusArgs) -> Result<()> {
    Interrupts::listen().or_interrupt(status(args)).await
}

async fn status(args: StatusArgs) -> Result<()> {
    let client = cluster::connect(&args.servers).await?;
    let leader = cluster::leader(&client).await?;
    let wants_state = args.format == ReportFormat::Json;
    let answers = ask_all(&client, cluster::nodes(&client).await?, wants_state).await;
    match args.format {
        ReportFormat::Table => report(&answers, leader.id).print(ReportFormat::Table)?,
        ReportFormat::Json => {
            let nodes: Vec<Json> = answers
                .iter()
                .map(|answer| to_json(answer, leader.id))
                .collect();
            let whole =
                json!({ "leader": { "id": leader.id, "address": leader.address }, "nodes": nodes });
            println!("{whole:#}");
        }
    }
    judge(&answers, &leader.address)
}

async fn ask_all(client: &Client, nodes: Vec<NodeInfo>, wants_state: bool) -> Vec<Answer> {
    let mut asking = JoinSet::new();
    for node in nodes {
        let client = client.clone();
        asking.spawn(async move {
            let result = ask(&client, &node.address, wants_state).await;
            Answer { node, result }
        });
    }
    let mut answers = asking.join_all().await;
    answers.sort_by_key(|answer| answer.node.id);
    answers
}

async fn ask(client: &Client, address: &str, wants_state: bool) -> Result<Heard, String> {
    let started = Instant::now();
    let greeting = async {
        let mut node = client.node(address).await?;
        let leader = node.leader().await?;
        Ok::<_, ferrolite_client::Error>((node, leader.map(|leader| leader.address)))
    };
    let (mut node, leader) = match timeout(ANSWER_TIMEOUT, greeting).await {
        Ok(greeted) => greeted.map_err(|error| error.to_string())?,
        Err(_) => return Err(format!("no answer within {ANSWER_TIMEOUT:?}")),
    };
    let round_trip = started.elapsed();
    if !wants_state {
        return Ok(Heard {
            round_trip,
            leader,
            state: None,
        });
    }
    // A dqlite node leaves the request without an answer; that it answered the first one is enough.
    let state = match timeout(cluster::EXTENSION_TIMEOUT, node.status()).await {
        Ok(Ok(text)) => serde_json::from_str(&text).ok(),
        Ok(Err(_)) | Err(_) => None,
    };
    Ok(Heard {
        round_trip,
        leader,
        state,
    })
}

fn report(answers: &[Answer], leader_id: u64) -> Report {
    let mut report = Report::new(&[
        "id",
        "address",
        "role",
        "leader",
        "answers",
        "round_trip_ms",
        "note",
    ]);
    for Answer { node, result } in answers {
        let (answers, round_trip, note) = match result {
            Ok(heard) => {
                let note = match &heard.leader {
                    Some(_) => Json::Null,
                    None => json!("knows of no leader"),
                };
                (
                    true,
                    json!(format!("{:.1}", heard.round_trip.as_secs_f64() * 1e3)),
                    note,
                )
            }
            Err(error) => (false, Json::Null, json!(error)),
        };
        report.push(vec![
            json!(node.id),
            json!(node.address),
            json!(node.role.name()),
            json!(node.id == leader_id),
            json!(answers),
            round_trip,
            note,
        ]);
    }
    report
}

fn to_json(Answer { node, result }: &Answer, leader_id: u64) -> Json {
    let (round_trip_ms, follows, state, error) = match result {
        Ok(heard) => (
            json!(heard.round_trip.as_secs_f64() * 1e3),
            json!(heard.leader),
            heard.state.clone().unwrap_or_default(),
            Json::Null,
        ),
        Err(error) => (Json::Null, Json::Null, Json::Null, json!(error)),
    };
    json!({
        "id": node.id,
        "address": node.address,
        "role": node.role.name(),
        "leader": node.id == leader_id,
        "answers": result.is_ok(),
        "round_trip_ms": round_trip_ms,
        "follows": follows,
        "state": state,
        "error": error,
    })
}

fn judge(answers: &[Answer], leader: &str) -> Result<()> {
    let voters: Vec<&Answer> = answers
        .iter()
        .filter(|answer| answer.node.role == Role::Voter)
        .collect();
    let agrees = |answer: &&&Answer| matches!(&answer.result, Ok(heard) if heard.leader.as_deref() == Some(leader));
    let agreeing = voters.iter().filter(agrees).count();
    if agreeing > voters.len() / 2 {
        return Ok(());
    }
    Err(Error::Unhealthy {
        agreeing,
        voters: voters.len(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(id: u64, role: Role, leader: Option<&str>) -> Answer {
        let result = match leader {
            Some(address) => Ok(Heard {
                round_trip: Duration::from_millis(1),
                leader: (!address.is_empty()).then(|| address.to_owned()),
                state: None,
            }),
            None => Err("refused".to_owned()),
        };
        Answer {
            node: NodeInfo {
                id,
                address: format!("h:{id}"),
                role,
            },
            result,
        }
    }

    /// Protects: the exit status of the health check; only voters count, and only those that agree.
    #[test]
    fn a_majority_of_voters_must_agree() {
        use Role::{Standby, Voter};
        let well = [
            answer(1, Voter, Some("h:1")),
            answer(2, Voter, Some("h:1")),
            answer(3, Voter, None),
        ];
        assert!(judge(&well, "h:1").is_ok());
        let split = [
            answer(1, Voter, Some("h:1")),
            answer(2, Voter, Some("")),
            answer(3, Voter, None),
        ];
        assert!(judge(&split, "h:1").is_err());
        let standbys = [
            answer(1, Voter, Some("h:1")),
            answer(2, Voter, None),
            answer(3, Standby, Some("h:1")),
        ];
        assert!(judge(&standbys, "h:1").is_err());
    }
}
