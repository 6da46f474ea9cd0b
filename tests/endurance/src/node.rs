//! One node: a process, the port it serves on, and the directory that outlives it.

use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Pid, Signal, kill_process};
use tokio::net::TcpSocket;

use crate::Result;

/// A node. Its process is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: u64,
    pub(crate) address: String,
    pub(crate) directory: PathBuf,
    program: PathBuf,
    out: PathBuf,
    log: PathBuf,
    child: Option<Child>,
    /// Of the process, for those who watch it; 0 while there is none.
    pub(crate) pid: Arc<AtomicU32>,
    suspended: bool,
    /// Bound, and not listening: keeps the port for the node while no process has it.
    _port: TcpSocket,
}

impl Node {
    /// A node that has not been started yet, with everything that it writes below `root`.
    ///
    /// # Errors
    /// When the system has no port for it.
    pub(crate) fn new(program: &Path, root: &Path, id: u64) -> Result<Self> {
        let port = TcpSocket::new_v4()?;
        port.set_reuseaddr(true)?;
        port.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        Ok(Self {
            id,
            address: port.local_addr()?.to_string(),
            directory: root.join(format!("node-{id}")),
            program: program.to_owned(),
            out: root.join(format!("node-{id}.out")),
            log: root.join(format!("node-{id}.log")),
            child: None,
            pid: Arc::default(),
            suspended: false,
            _port: port,
        })
    }

    /// Starts the process and does not wait for it.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub(crate) fn spawn(&mut self, how: &[&str]) -> Result<()> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let child = Command::new(&self.program)
            .args(["serve", "--id", &self.id.to_string()])
            .args(["--address", &self.address, "--data-dir"])
            .arg(&self.directory)
            .args(how)
            // What our caller has set for himself must not reach the nodes, nor must Ctrl-C at his terminal.
            .env_remove("FERROLITE_LOG")
            .env_remove("FERROLITE_SERVERS")
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(File::create(&self.out)?)
            .stderr(log)
            .spawn()
            .map_err(|error| format!("{}: {error}", self.program.display()))?;
        self.pid.store(child.id(), Ordering::Relaxed);
        self.child = Some(child);
        Ok(())
    }

    /// Whether the process has said that it is ready.
    pub(crate) fn is_ready(&self) -> bool {
        let said = std::fs::read_to_string(&self.out).unwrap_or_default();
        said.lines().any(|line| line.starts_with("ready: "))
    }

    /// Whether there is a process.
    pub(crate) fn runs(&self) -> bool {
        self.child.is_some()
    }

    /// How the process has ended, if it has.
    ///
    /// # Errors
    /// When the system does not say.
    pub(crate) fn exited(&mut self) -> Result<Option<ExitStatus>> {
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
    pub(crate) fn kill(&mut self) -> Result<()> {
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
    pub(crate) fn suspend(&mut self) -> Result<()> {
        self.suspended = true;
        self.signal(Signal::STOP)
    }

    /// Lets the process go on, if it was suspended.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn resume(&mut self) -> Result<()> {
        if std::mem::take(&mut self.suspended) {
            self.signal(Signal::CONT)?;
        }
        Ok(())
    }

    /// Asks the process to end as an operator would.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn terminate(&self) -> Result<()> {
        self.signal(Signal::TERM)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        if let Some(child) = &self.child {
            kill_process(Pid::from_child(child), signal)?;
        }
        Ok(())
    }

    /// The lines that the node has logged as errors since it was first started.
    pub(crate) fn errors(&self) -> Vec<String> {
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
