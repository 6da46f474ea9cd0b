//! The nodes' disks: a small file system in memory for each, which a file beside the node's data may fill up.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use ferrolite_processes::Result;
use tokio::process::Command;

const CHUNK: usize = 256 * 1024;

/// A node's file system. It is gone when the namespace is in which it was mounted.
#[derive(Debug)]
pub(crate) struct Disk {
    root: PathBuf,
}

impl Disk {
    /// Mounts a file system of so many MiB at `root`, in place of one that may be there.
    ///
    /// # Errors
    /// What the system does not allow.
    pub(crate) async fn mount(root: &Path, mib: u32) -> Result<Self> {
        std::fs::create_dir_all(root)?;
        let _ = Command::new("umount").arg(root).output().await?;
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "none"])
            .arg(root)
            .output()
            .await?;
        if !mounted.status.success() {
            let said = String::from_utf8_lossy(&mounted.stderr);
            return Err(said.trim().to_owned().into());
        }
        Ok(Self {
            root: root.to_owned(),
        })
    }

    /// The node's directory.
    pub(crate) fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    fn filler(&self) -> PathBuf {
        self.root.join("filler")
    }

    /// Fills it to the last byte.
    ///
    /// # Errors
    /// When the file cannot be created.
    pub(crate) async fn fill(&self) -> Result<()> {
        let mut filler = File::create(self.filler())?;
        tokio::task::spawn_blocking(move || {
            let zeros = vec![0; CHUNK];
            // It ends with an error: that there is no more room.
            while filler.write_all(&zeros).is_ok() {}
        })
        .await?;
        Ok(())
    }

    /// Makes room again.
    pub(crate) fn free(&self) {
        // There may be nothing to remove.
        let _ = std::fs::remove_file(self.filler());
    }
}
