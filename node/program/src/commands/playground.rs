//! `ferrolite playground`: a whole cluster in one process, and a shell on it.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use ferrolite_cli::shell::{self, ShellOptions};
use ferrolite_node::{Error, Node, Options};

/// Where the addresses are kept, so that a playground can be opened again.
const ADDRESSES: &str = "playground-addresses";
/// How long the nodes may take to agree on a leader.
const LEADER_TIMEOUT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(5);

#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  ferrolite playground\n  echo \"SELECT sqlite_version();\" | ferrolite playground\n  ferrolite playground --data-dir ./play      keeps the data; open it again with the same command\n\nWith SQL on standard input it is run, and the exit status says whether it succeeded."
)]
pub(crate) struct PlaygroundArgs {
    /// How many nodes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=9))]
    nodes: u64,
    /// Where to keep the data; without it everything is gone at the end
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// What the nodes say on standard error: error, warn, info, debug or trace
    #[arg(
        long,
        value_name = "LEVEL",
        default_value = "error",
        env = "FERROLITE_LOG"
    )]
    log_level: String,
}

pub(crate) async fn run(args: PlaygroundArgs) -> ExitCode {
    if let Err(error) = super::log_to_stderr(&args.log_level) {
        eprintln!("ferrolite playground: {error}");
        return ExitCode::FAILURE;
    }
    match play(&args).await {
        Ok(status) => status,
        Err(error) => {
            eprintln!("ferrolite playground: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn play(args: &PlaygroundArgs) -> Result<ExitCode, Error> {
    let unable = |what: &str| {
        let what = what.to_owned();
        move |source| Error::Io { what, source }
    };
    let (directory, temporary) = match &args.data_dir {
        Some(directory) => (directory.clone(), None),
        None => {
            let made = tempfile::Builder::new()
                .prefix("ferrolite-playground-")
                .tempdir();
            let made = made.map_err(unable("making a temporary directory"))?;
            (made.path().to_owned(), Some(made))
        }
    };
    let begun = Instant::now();
    let nodes = start(args.nodes, &directory).await?;
    let addresses: Vec<String> = nodes.iter().map(|node| node.address().to_owned()).collect();
    if std::io::stdin().is_terminal() {
        println!(
            "{} nodes serve after {:.1} s:",
            nodes.len(),
            begun.elapsed().as_secs_f64()
        );
        for node in &nodes {
            println!("  node {} on {}", node.id(), node.address());
        }
        let place = match &temporary {
            Some(_) => "gone at the end (--data-dir DIR keeps it)".to_owned(),
            None => format!("in {}", directory.display()),
        };
        println!("The data is {place}. From another terminal:");
        println!("  ferrolite shell --servers {}\n", addresses.join(","));
    }
    let result = shell::run(ShellOptions::new(addresses)).await;
    let status = ferrolite_cli::exit_code(result);
    for node in nodes.into_iter().rev() {
        // Nobody is left to take over from the last ones, so none hands leadership over.
        node.stop().await;
    }
    if let Some(temporary) = temporary {
        temporary
            .close()
            .map_err(unable("removing the temporary directory"))?;
    }
    Ok(status)
}

/// Starts the nodes: a new cluster, or the one that the directory holds.
async fn start(count: u64, directory: &Path) -> Result<Vec<Node>, Error> {
    let known = read_addresses(directory)?;
    if !known.is_empty() && known.len() as u64 != count {
        return Err(Error::Options(format!(
            "{} holds a playground of {} nodes; open it with --nodes {}",
            directory.display(),
            known.len(),
            known.len()
        )));
    }
    let mut nodes: Vec<Node> = Vec::new();
    for id in 1..=count {
        let address = usize::try_from(id - 1).ok().and_then(|nth| known.get(nth));
        let address = address.map_or("127.0.0.1:0", String::as_str);
        let mut builder = Node::builder(id, address, directory.join(format!("node-{id}")));
        builder = builder.options(Options::default());
        if known.is_empty() {
            builder = match nodes.first() {
                None => builder.bootstrap(),
                Some(first) => builder.join([first.address()]),
            };
        }
        nodes.push(builder.start().await?);
    }
    if known.is_empty() {
        let addresses: Vec<&str> = nodes.iter().map(Node::address).collect();
        std::fs::write(directory.join(ADDRESSES), addresses.join("\n")).map_err(|source| {
            Error::Io {
                what: "keeping the addresses".to_owned(),
                source,
            }
        })?;
    }
    let deadline = Instant::now() + LEADER_TIMEOUT;
    while !nodes.iter().any(Node::is_serving) {
        if Instant::now() > deadline {
            return Err(Error::Options(format!(
                "no leader was elected within {} s; FERROLITE_LOG=info shows why",
                LEADER_TIMEOUT.as_secs()
            )));
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(nodes)
}

fn read_addresses(directory: &Path) -> Result<Vec<String>, Error> {
    match std::fs::read_to_string(directory.join(ADDRESSES)) {
        Ok(text) => Ok(text.lines().map(str::to_owned).collect()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(Error::Io {
            what: format!("reading {}", directory.display()),
            source,
        }),
    }
}
