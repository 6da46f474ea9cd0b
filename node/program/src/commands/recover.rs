//! `ferrolite recover`: go on with what one node has, when a majority is gone for good.

use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use ferrolite_node::{Error, recovery};

#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Example: of the voters 1, 2 and 3 only the machine of 2 is left
  ferrolite inspect /var/lib/ferrolite              how far its log reaches
  ferrolite recover /var/lib/ferrolite --voters 2=10.0.0.2:9001,4=10.0.0.4:9001,5=10.0.0.5:9001
  ferrolite serve --id 2 --address 10.0.0.2:9001 --data-dir /var/lib/ferrolite
  ferrolite serve --id 4 --address 10.0.0.4:9001 --data-dir /var/lib/ferrolite --join 10.0.0.2:9001
  ferrolite serve --id 5 --address 10.0.0.5:9001 --data-dir /var/lib/ferrolite --join 10.0.0.2:9001

Use it only when too many voters are gone for good: what only they held is lost. If several nodes are left,
recover the one whose log reaches farthest (the highest term, then the highest index), and empty the
directories of the others before they join. The node must not run.")]
pub(crate) struct RecoverArgs {
    /// The data directory of the node that is left
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// The voters of the new cluster: this directory's node, and those that will join it with empty directories
    #[arg(
        long,
        value_name = "ID=HOST:PORT,…",
        value_delimiter = ',',
        required = true,
        value_parser = voter
    )]
    voters: Vec<(u64, String)>,
    /// Do not ask
    #[arg(long, short = 'y')]
    yes: bool,
}

fn voter(text: &str) -> Result<(u64, String), String> {
    let expected = "expected ID=HOST:PORT, for example 2=10.0.0.2:9001";
    let (id, address) = text.split_once('=').ok_or(expected)?;
    let id = id
        .trim()
        .parse()
        .ok()
        .filter(|id| *id != 0)
        .ok_or(expected)?;
    Ok((id, super::address(address.trim())?))
}

pub(crate) fn run(args: &RecoverArgs) -> ExitCode {
    match recover(args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("nothing was changed");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("ferrolite recover: {error}");
            ExitCode::FAILURE
        }
    }
}

fn recover(args: &RecoverArgs) -> Result<bool, Error> {
    let directory = args.directory.display();
    let id = recovery::owner(&args.directory)?.ok_or_else(|| {
        Error::Options(format!("{directory} is not the data directory of a node"))
    })?;
    let mut others = args.voters.clone();
    others.sort_unstable();
    if others
        .windows(2)
        .any(|pair| pair.first().map(|v| v.0) == pair.last().map(|v| v.0))
    {
        return Err(Error::Options("--voters names a node twice".to_owned()));
    }
    let Some(at) = others.iter().position(|(voter, _)| *voter == id) else {
        return Err(Error::Options(format!(
            "{directory} belongs to node {id}, which --voters does not name"
        )));
    };
    let (_, address) = others.remove(at);
    if !args.yes && !confirmed(&args.directory, id)? {
        return Ok(false);
    }
    let new = recovery::found_anew(&args.directory, &address)?;
    let (index, term) = new.last;
    println!(
        "node {id} is the first voter of the new cluster {:032x}, with everything up to log index {index} of term {term}",
        new.cluster
    );
    println!("Start it:");
    println!("  ferrolite serve --id {id} --address {address} --data-dir {directory}");
    if !others.is_empty() {
        println!("then the others, each with an empty directory:");
    }
    for (other, its_address) in &others {
        println!(
            "  ferrolite serve --id {other} --address {its_address} --data-dir DIR --join {address}"
        );
    }
    // Nodes that join become voters by themselves while there are fewer than three.
    for (other, _) in others.iter().skip(2) {
        println!("  ferrolite cluster assign {other} voter --servers {address}");
    }
    Ok(true)
}

fn confirmed(directory: &std::path::Path, id: u64) -> Result<bool, Error> {
    let io = |source| Error::Io {
        what: "asking whether to go on".to_owned(),
        source,
    };
    if !std::io::stdin().is_terminal() {
        return Err(Error::Options(
            "standard input is no terminal to ask on: say --yes if a majority is gone for good"
                .to_owned(),
        ));
    }
    print!(
        "Node {id} in {} leaves its cluster for a new one. What only the lost nodes held is lost, and no node\n\
         of the old cluster can come back but with an empty directory. Type \"recover\" to go on: ",
        directory.display()
    );
    std::io::stdout().flush().map_err(io)?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).map_err(io)?;
    Ok(answer.trim() == "recover")
}
