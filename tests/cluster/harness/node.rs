//! One node: a process, the port it serves on, and the directory that outlives it.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::net::TcpSocket;

use super::eventually;

/// What starts the program under test, in front of its path: an emulator, where the tests were built for another machine.
const RUNNER: &str = "FERROLITE_RUNNER";

/// The program under test.
pub fn program() -> Command {
    let program = env!("CARGO_BIN_EXE_ferrolite");
    let runner = std::env::var(RUNNER).unwrap_or_default();
    let mut words = runner.split_whitespace().chain([program]);
    let mut command = Command::new(words.next().unwrap_or(program));
    command.args(words);
    // What the tests' caller has set for himself must not reach the nodes.
    command
        .env_remove("FERROLITE_LOG")
        .env_remove("FERROLITE_SERVERS");
    command
}

/// Runs a command to its end.
///
/// # Panics
/// When it does not end in time.
pub async fn finished(command: &mut Command) -> Output {
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let pid = Pid::from_child(&child);
    let output = tokio::task::spawn_blocking(move || child.wait_with_output());
    match tokio::time::timeout(super::PATIENCE, output).await {
        Ok(output) => output.unwrap().unwrap(),
        Err(_) => {
            kill_process(pid, Signal::KILL).expect("the program can be killed");
            panic!("{command:?} did not end in {:?}", super::PATIENCE);
        }
    }
}

/// What a program wrote, as text.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Takes a port of the system's choice. The socket is bound and does not listen, which keeps others off the port, and
/// lets a node have it.
fn reserve() -> (TcpSocket, String) {
    let port = TcpSocket::new_v4().unwrap();
    port.set_reuseaddr(true).unwrap();
    port.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = port.local_addr().unwrap().to_string();
    (port, address)
}

/// A node. Its process is killed when this is dropped.
#[derive(Debug)]
pub struct Node {
    pub id: u64,
    pub address: String,
    pub directory: PathBuf,
    out: PathBuf,
    log: PathBuf,
    options: Vec<String>,
    /// Where its processes look for a place for temporary files, if not where this one does.
    temporary: Option<PathBuf>,
    child: Option<Child>,
    /// Keeps the port when no process has it, so that the node can come back to it.
    port: TcpSocket,
}

impl Node {
    /// A node that has not been started yet, with everything it writes below `root`.
    pub fn new(root: &Path, id: u64, options: &[&str]) -> Self {
        let (port, address) = reserve();
        Self {
            id,
            address,
            directory: root.join(format!("node-{id}")),
            out: root.join(format!("node-{id}.out")),
            log: root.join(format!("node-{id}.log")),
            options: options.iter().map(|&option| option.to_owned()).collect(),
            temporary: None,
            child: None,
            port,
        }
    }

    /// Has the node look for a place for temporary files there, from its next start on.
    pub fn set_temporary(&mut self, directory: &Path) {
        self.temporary = Some(directory.to_owned());
    }

    /// Gives the node another port, for its next start.
    pub fn relocate(&mut self) {
        assert!(!self.runs(), "node {} has its port", self.id);
        (self.port, self.address) = reserve();
    }

    /// The command that serves this node, without what makes it a member.
    pub fn command(&self) -> Command {
        let mut command = program();
        command
            .args([
                "serve",
                "--id",
                &self.id.to_string(),
                "--address",
                &self.address,
                "--data-dir",
            ])
            .arg(&self.directory)
            .args(&self.options)
            .envs(self.temporary.iter().map(|directory| ("TMPDIR", directory)));
        command
    }

    /// Starts the process and does not wait for it.
    pub fn spawn(&mut self, how: &[&str]) {
        assert!(self.child.is_none(), "node {} runs already", self.id);
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .unwrap();
        let child = self
            .command()
            .args(how)
            .stdin(Stdio::null())
            .stdout(File::create(&self.out).unwrap())
            .stderr(log)
            .spawn()
            .expect("the program starts");
        self.child = Some(child);
    }

    /// Waits for the ready line, and returns it.
    pub async fn ready(&mut self) -> String {
        let what = format!("the ready line of node {}", self.id);
        eventually(&what, async || {
            if let Some(status) = self.exited() {
                panic!(
                    "node {} ended with {status} instead of serving:\n{}",
                    self.id,
                    self.log()
                );
            }
            let out = std::fs::read_to_string(&self.out).unwrap();
            out.lines()
                .find(|line| line.starts_with("ready: "))
                .map(str::to_owned)
        })
        .await
    }

    /// Starts the node and waits until it serves.
    pub async fn start(&mut self, how: &[&str]) -> String {
        self.spawn(how);
        self.ready().await
    }

    /// Whether there is a process.
    pub fn runs(&self) -> bool {
        self.child.is_some()
    }

    /// How the process has ended, if it has.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut()?.try_wait().unwrap()?;
        self.child = None;
        Some(status)
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("the node runs");
        kill_process(Pid::from_child(child), signal).unwrap();
    }

    /// Suspends the process, and waits until none of its threads runs.
    pub async fn suspend(&self) {
        self.signal(Signal::STOP);
        let child = self.child.as_ref().expect("the node runs");
        let threads = format!("/proc/{}/task", child.id());
        let what = format!("node {} is suspended", self.id);
        eventually(&what, async || {
            let stopped = std::fs::read_dir(&threads).unwrap().all(|thread| {
                let stat = std::fs::read_to_string(thread.unwrap().path().join("stat"));
                // The state comes behind the name in parentheses. A thread that has just ended has none.
                stat.map_or(true, |stat| stat.contains(") T "))
            });
            stopped.then_some(())
        })
        .await;
    }

    /// Lets a suspended process go on.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Ends the process as a crash would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Asks the process to end, and waits until it has.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.ended().await
    }

    /// Waits until the process has ended.
    pub async fn ended(&mut self) -> ExitStatus {
        let what = format!("the end of node {}", self.id);
        eventually(&what, async || self.exited()).await
    }

    /// How much of one processor the process uses, by the system's account over a while.
    pub async fn processor_share(&self, over: Duration) -> f64 {
        /// The unit of the account: `USER_HZ`, which is 100 on every Linux.
        const TICKS_PER_SECOND: f64 = 100.0;
        let child = self.child.as_ref().expect("the node runs");
        let stat = format!("/proc/{}/stat", child.id());
        let ticks = || -> f64 {
            let stat = std::fs::read_to_string(&stat).unwrap();
            // Fields 14 and 15, counted from the end of the second, which is the program's name in parentheses.
            let (_, fields) = stat.rsplit_once(')').unwrap();
            fields
                .split_whitespace()
                .skip(11)
                .take(2)
                .map(|ticks| ticks.parse::<f64>().unwrap())
                .sum()
        };
        let (begun, before) = (Instant::now(), ticks());
        tokio::time::sleep(over).await;
        (ticks() - before) / TICKS_PER_SECOND / begun.elapsed().as_secs_f64()
    }

    /// Everything that the node has logged since it was first started.
    pub fn log(&self) -> String {
        match std::fs::read(&self.log) {
            Ok(bytes) => text(&bytes),
            Err(_) => String::new(),
        }
    }

    /// The file of a database.
    pub fn database(&self, name: &str) -> PathBuf {
        self.directory
            .join("databases")
            .join(ferrolite_pager::file_name(name).unwrap())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let last = &lines[lines.len().saturating_sub(60)..];
            eprintln!(
                "--- node {} on {} logged last:\n{}",
                self.id,
                self.address,
                last.join("\n")
            );
        }
    }
}
