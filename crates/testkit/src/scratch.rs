use std::{
    collections::hash_map::RandomState,
    env, fs,
    hash::{BuildHasher, Hasher},
    io,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

/// `prefix_` and 16 hexadecimal digits that no other test has: for keys, topics and keyspaces on a server
/// that tests share.
#[must_use]
pub fn unique(prefix: &str) -> String {
    // Seeded by the system, and different each time.
    format!("{prefix}_{:016x}", RandomState::new().build_hasher().finish())
}

/// A folder of a test's own, removed when dropped.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// A new folder in the folder for temporary files.
    ///
    /// # Errors
    ///
    /// When it cannot be created.
    pub fn new() -> io::Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        loop {
            let n = COUNT.fetch_add(1, Ordering::Relaxed);
            let path = env::temp_dir().join(format!("testkit-{}-{n}", process::id()));
            match fs::create_dir(&path) {
                // Left over by an earlier process with the same pid.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                created => return created.map(|()| Self { path }),
            }
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}
