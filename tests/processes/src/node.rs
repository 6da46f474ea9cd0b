//! One node: a process, where it is, and the directory that outlives it.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::{Result, eventually};
use rustix::process::{Pid, Signal, kill_process};

/// Where a node is, and what it is started with.
#[derive(Debug, Clone)]
pub struct Place {
    /// Its number.
    pub id: u64,
    /// Where it serves, `HOST:PORT`.
    pub address: String,
    /// What it keeps.
    pub directory: PathBuf,
    /// A directory for what it prints and logs.
    pub logs: PathBuf,
    /// The program to start, with arguments before those of a node: it may be another one that starts it.
    pub program: Vec<OsString>,
    /// Further arguments of a node, at each start.
    pub arguments: Vec<String>,
}

/// A node. Its process is killed when this is dropped.
#[derive(Debug)]
pub struct Node {
    /// Its number.
    pub id: u64,
    /// Where it serves.
    pub address: String,
    /// What it keeps.
    pub directory: PathBuf,
    place: Place,
    out: PathBuf,
    log: PathBuf,
    child: Option<Child>,
    /// Of the process, for those who watch it; 0 while there is none.
    pub pid: Arc<AtomicU32>,
    suspended: bool,
}

impl Node {
    /// A node that has not been started yet.
    #[must_use]
    pub fn new(place: Place) -> Self {
        let id = place.id;
        Self {
            id,
            address: place.address.clone(),
            directory: place.directory.clone(),
            out: place.logs.join(format!("node-{id}.out")),
            log: place.logs.join(format!("node-{id}.log")),
            place,
            child: None,
            pid: Arc::default(),
            suspended: false,
        }
    }

    /// Starts the process and does not wait for it.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn spawn(&mut self, how: &[&str]) -> Result<()> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let (program, before) = self.place.program.split_first().ok_or("no program")?;
        let child = Command::new(program)
            .args(before)
            .args(["serve", "--id", &self.id.to_string()])
            .args(["--address", &self.address, "--data-dir"])
            .arg(&self.directory)
            .args(&self.place.arguments)
            .args(how)
            // What our caller has set for himself must not reach the nodes, nor must Ctrl-C at his terminal.
            .env_remove("FERROLITE_LOG")
            .env_remove("FERROLITE_SERVERS")
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(File::create(&self.out)?)
            .stderr(log)
            .spawn()
            .map_err(|error| format!("{}: {error}", Path::new(program).display()))?;
        self.pid.store(child.id(), Ordering::Relaxed);
        self.child = Some(child);
        Ok(())
    }

    /// Whether the process has said that it is ready.
    pub fn is_ready(&self) -> bool {
        let said = std::fs::read_to_string(&self.out).unwrap_or_default();
        said.lines().any(|line| line.starts_with("ready: "))
    }

    /// Waits until the process has said that it is ready.
    ///
    /// # Errors
    /// When it ends instead, or takes too long.
    pub async fn ready(&mut self) -> Result<()> {
        let what = format!("the ready line of node {}", self.id);
        eventually(&what, async || {
            if let Some(status) = self.exited()? {
                let id = self.id;
                return Err(format!("node {id} ended with {status} instead of serving").into());
            }
            Ok(self.is_ready().then_some(()))
        })
        .await
    }

    /// Whether it is suspended.
    #[must_use]
    pub fn is_suspended(&self) -> bool {
        self.suspended
    }

    /// Whether there is a process.
    pub fn runs(&self) -> bool {
        self.child.is_some()
    }

    /// How the process has ended, if it has.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn exited(&mut self) -> Result<Option<ExitStatus>> {
        let Some(child) = &mut self.child else {
            return Ok(None);
        };
        let status = child.try_wait()?;
        if status.is_some() {
            self.pid.store(0, Ordering::Relaxed);
            self.child = None;
        }
        Ok(status)
    }

    /// Ends the process as a crash would.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn kill(&mut self) -> Result<()> {
        self.suspended = false;
        self.pid.store(0, Ordering::Relaxed);
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Suspends the process.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn suspend(&mut self) -> Result<()> {
        self.suspended = true;
        self.signal(Signal::STOP)
    }

    /// Lets the process go on, if it was suspended.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn resume(&mut self) -> Result<()> {
        if std::mem::take(&mut self.suspended) {
            self.signal(Signal::CONT)?;
        }
        Ok(())
    }

    /// Asks the process to end as an operator would.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn terminate(&self) -> Result<()> {
        self.signal(Signal::TERM)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        if let Some(child) = &self.child {
            kill_process(Pid::from_child(child), signal)?;
        }
        Ok(())
    }

    /// The line that the node has logged last.
    #[must_use]
    pub fn last_line(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        log.lines().last().unwrap_or_default().to_owned()
    }

    /// The lines that the node has logged as errors since it was first started.
    #[must_use]
    pub fn errors(&self) -> Vec<String> {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let is_error = |line: &&str| line.contains("ERROR") || line.contains("panicked");
        let log = String::from_utf8_lossy(&log);
        log.lines().filter(is_error).map(str::to_owned).collect()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Nobody is left to be told that it failed.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Stops nodes as an operator would, the leader last, so that all have the same in their files. They are in the order of their
/// numbers afterwards.
///
/// # Errors
/// When one does not end as it should.
pub async fn stop_all(nodes: &mut [Node], leader: u64) -> Result<()> {
    nodes.sort_by_key(|node| (node.id == leader, node.id));
    for node in nodes.iter_mut() {
        node.terminate()?;
        let what = format!("the end of node {}", node.id);
        let status = eventually(&what, async || node.exited()).await?;
        if !status.success() {
            return Err(format!("node {} ended with {status}", node.id).into());
        }
    }
    nodes.sort_by_key(|node| node.id);
    Ok(())
}
