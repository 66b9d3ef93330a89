//! The secret that signs event URLs, kept in the data folder: made once, readable by its owner alone.
//!
//! URLs that are out stay good over restarts because it stays. Must never: write over one that is there, or show one.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use durable::event_url::{EventUrls, SECRET_BYTES};

const FILE: &str = "event-url-secret";

/// The secret that signs event URLs: at least 32 bytes. It hides itself in debug output.
#[derive(Clone)]
pub struct UrlSecret(pub Vec<u8>);

impl std::fmt::Debug for UrlSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("UrlSecret(..)")
    }
}

/// Signed URLs below this one, with the secret that was said or the folder's.
pub(crate) async fn urls(base_url: String, said: Option<UrlSecret>, folder: &Path) -> Result<EventUrls, String> {
    let secret = match said {
        Some(UrlSecret(secret)) => secret,
        None => {
            let folder = folder.to_owned();
            tokio::task::spawn_blocking(move || read_or_make(&folder)).await.map_err(|e| e.to_string())??
        }
    };
    EventUrls::new(base_url, secret).map_err(|e| e.to_string())
}

fn read_or_make(folder: &Path) -> Result<Vec<u8>, String> {
    let file = folder.join(FILE);
    let trouble = |e: std::io::Error| format!("{}: {e}", file.display());
    match fs::read(&file) {
        Err(e) if e.kind() == ErrorKind::NotFound => {
            make(folder, &file).map_err(trouble)?;
            // Whoever was first has made it.
            fs::read(&file).map_err(trouble)
        }
        read => read.map_err(trouble),
    }
}

/// Puts a whole secret in its place, or leaves the one that came to stand there meanwhile.
fn make(folder: &Path, file: &Path) -> std::io::Result<()> {
    fs::create_dir_all(folder)?;
    let mut secret = [0; SECRET_BYTES];
    getrandom::fill(&mut secret).map_err(std::io::Error::other)?;
    let draft = folder.join(format!("{FILE}.{}", std::process::id()));
    let mut out = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    out.write_all(&secret)?;
    out.sync_all()?;
    let placed = match fs::hard_link(&draft, file) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(()),
        placed => placed,
    };
    fs::remove_file(&draft)?;
    fs::File::open(folder)?.sync_all()?;
    placed
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test code")]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_folder_s_secret_is_made_once_and_is_its_owner_s_alone() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("data");
        let made = read_or_make(&inner).unwrap();
        assert_eq!(made.len(), SECRET_BYTES);
        assert_eq!(read_or_make(&inner).unwrap(), made);
        assert_eq!(fs::metadata(inner.join(FILE)).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(&inner).unwrap().count(), 1);
        assert_ne!(read_or_make(folder.path()).unwrap(), made);
    }
}
