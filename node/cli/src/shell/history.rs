//! Where the shell remembers what was typed.
//!
//! The file lies in the user's state directory (the XDG base directory specification) and only the user
//! may read it: statements contain data.

use std::io;
use std::path::{Path, PathBuf};

/// The history file of this user: `$XDG_STATE_HOME/ferrolite/history`, by default
/// `~/.local/state/ferrolite/history`. None if neither variable is set.
pub fn path() -> Option<PathBuf> {
    let absolute = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let state =
        absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))?;
    Some(state.join("ferrolite").join("history"))
}

/// Makes sure that the file exists and that nobody else can read it.
///
/// # Errors
/// What the file system reports.
pub fn prepare(path: &Path) -> io::Result<()> {
    let mut directory = std::fs::DirBuilder::new();
    directory.recursive(true);
    let mut file = std::fs::OpenOptions::new();
    file.create(true).append(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
        directory.mode(0o700);
        file.mode(0o600);
    }
    if let Some(parent) = path.parent() {
        directory.create(parent)?;
    }
    let opened = file.open(path)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // The file may be older than this rule.
        opened.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    }
    drop(opened);
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// Protects: what the user typed, from other users.
    #[test]
    fn only_the_user_reads_the_history() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new/state/history");
        prepare(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        prepare(&path).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
    }
}
