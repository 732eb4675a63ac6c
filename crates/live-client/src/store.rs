//! Where cursors are kept: they may outlive the process.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::contract::is_cursor;

/// Any error of code that is not this crate's.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Cursors that are kept: the last ones that were used.
const CURSORS_MAX: usize = 1_000;
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);
/// A cursor that is not written by then is given up; a later one is tried.
const WRITTEN_WITHIN: Duration = Duration::from_secs(10);

/// Keeps the last cursor of each subscription. One that fails is done without, and one that does not answer, too; the
/// log says so once.
///
/// A cursor says which events an application has had. It helps after a restart only if what those events did is kept
/// as well; otherwise read the data again, and subscribe without one. Whoever writes events to a database keeps
/// [`Event::cursor`](crate::Event::cursor) in the same transaction, and needs no store.
pub trait CursorStore: Send + Sync + 'static {
    /// The cursor that is kept.
    fn get<'store>(
        &'store self,
        key: &'store str,
    ) -> BoxFuture<'store, Result<Option<String>, BoxError>>;

    /// Keeps a cursor; without one, forgets it. For each key there is one call at a time.
    fn set<'store>(
        &'store self,
        key: &'store str,
        cursor: Option<String>,
    ) -> BoxFuture<'store, Result<(), BoxError>>;
}

/// As long as the process runs: for subscriptions that end and come again.
#[derive(Debug, Default)]
pub struct MemoryStore(Mutex<Cursors>);

impl CursorStore for MemoryStore {
    fn get(&self, key: &str) -> BoxFuture<'_, Result<Option<String>, BoxError>> {
        let found = lock(&self.0).get(key);
        async move { Ok(found) }.boxed()
    }

    fn set(&self, key: &str, cursor: Option<String>) -> BoxFuture<'_, Result<(), BoxError>> {
        lock(&self.0).put(key, cursor);
        async { Ok(()) }.boxed()
    }
}

/// In a file, for one process at a time. Each change writes the whole file, in the background; after a crash of the
/// machine the file may be older.
#[derive(Debug)]
pub struct FileStore {
    file: Arc<File>,
}

#[derive(Debug)]
struct File {
    path: PathBuf,
    cursors: Mutex<Cursors>,
    /// Held while the file is written: an older state does not replace a newer one.
    writing: Mutex<()>,
}

impl FileStore {
    /// Reads the file. It is made with the first cursor.
    ///
    /// # Errors
    /// When it cannot be read, or has something else in it.
    pub fn open(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        let text = match std::fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            read => read?,
        };
        let entries = match text.is_empty() {
            true => Vec::new(),
            false => serde_json::from_slice(&text)?,
        };
        let file = File {
            path,
            cursors: Mutex::new(Cursors(entries)),
            writing: Mutex::default(),
        };
        Ok(Self {
            file: Arc::new(file),
        })
    }
}

impl CursorStore for FileStore {
    fn get(&self, key: &str) -> BoxFuture<'_, Result<Option<String>, BoxError>> {
        let found = lock(&self.file.cursors).get(key);
        async move { Ok(found) }.boxed()
    }

    fn set(&self, key: &str, cursor: Option<String>) -> BoxFuture<'_, Result<(), BoxError>> {
        lock(&self.file.cursors).put(key, cursor);
        let file = Arc::clone(&self.file);
        async move { Ok(tokio::task::spawn_blocking(move || file.write()).await??) }.boxed()
    }
}

impl File {
    /// Writes a new file in the place of the old one, so that there is always a whole one.
    fn write(&self) -> io::Result<()> {
        let _writing = lock(&self.writing);
        let text = serde_json::to_vec(&lock(&self.cursors).0)?;
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        let new = self.path.with_file_name(name);
        let mut file = std::fs::File::create(&new)?;
        file.write_all(&text)?;
        // Otherwise the name may be on the disk before the text.
        file.sync_all()?;
        std::fs::rename(new, &self.path)
    }
}

/// The oldest one first.
#[derive(Debug, Default)]
struct Cursors(Vec<(String, String)>);

impl Cursors {
    fn get(&self, key: &str) -> Option<String> {
        let (_, cursor) = self.0.iter().find(|(name, _)| name == key)?;
        Some(cursor.clone())
    }

    fn put(&mut self, key: &str, cursor: Option<String>) {
        self.0.retain(|(name, _)| name != key);
        self.0.extend(cursor.map(|it| (key.to_owned(), it)));
        if self.0.len() > CURSORS_MAX {
            self.0.remove(0);
        }
    }
}

/// What is true once an item is applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    None,
    /// The position is here.
    Applied(String),
    /// The data is read again, and the position is here.
    Gap(Option<String>),
}

/// One subscription's cursor in a store that may be slow, or fail.
pub(crate) struct StoredCursor {
    wanted: watch::Sender<Option<String>>,
    writing: JoinHandle<()>,
    /// Gaps whose data is not read yet: there is no cursor until then.
    unread: Mutex<u32>,
}

impl StoredCursor {
    /// The stored cursor, and its handle.
    pub(crate) async fn read(
        store: Arc<dyn CursorStore>,
        key: String,
    ) -> (Option<String>, Arc<Self>) {
        let found = match timeout(ANSWERED_WITHIN, store.get(&key)).await {
            Ok(Ok(found)) => found.filter(|it| is_cursor(it)),
            Ok(Err(error)) => {
                tracing::warn!(error = %error, "a stored cursor cannot be read, going on without it");
                None
            }
            Err(_) => {
                tracing::warn!("the store of cursors does not answer, going on without it");
                None
            }
        };
        let (wanted, changes) = watch::channel(found.clone());
        let stored = Self {
            wanted,
            writing: tokio::spawn(write_last(store, key, changes)),
            unread: Mutex::new(0),
        };
        (found, Arc::new(stored))
    }

    /// An item with this mark is on its way to the application.
    pub(crate) fn sent(&self, mark: &Mark) {
        // A restart between here and the end of the reading has to read as well.
        if let Mark::Gap(_) = mark {
            *lock(&self.unread) += 1;
            self.forget();
        }
    }

    /// The cursor cannot be used any more.
    pub(crate) fn forget(&self) {
        self.wanted.send_replace(None);
    }

    /// The application has applied an item with this mark.
    pub(crate) fn applied(&self, mark: Mark) {
        let mut unread = lock(&self.unread);
        let cursor = match mark {
            Mark::None => return,
            Mark::Applied(cursor) => Some(cursor),
            Mark::Gap(cursor) => {
                *unread = unread.saturating_sub(1);
                cursor
            }
        };
        if *unread == 0 && cursor.is_some() {
            self.wanted.send_replace(cursor);
        }
    }

    /// Waits until the last cursor is written.
    pub(crate) async fn finish(self) {
        drop(self.wanted);
        // A store that panics has said so.
        let _ = self.writing.await;
    }
}

/// Of several cursors while a slow store writes, the last one counts. Ends after the last one of a subscription that
/// has ended.
async fn write_last(
    store: Arc<dyn CursorStore>,
    key: String,
    mut changes: watch::Receiver<Option<String>>,
) {
    let mut has_warned = false;
    while changes.changed().await.is_ok() {
        let cursor = changes.borrow_and_update().clone();
        let written = timeout(WRITTEN_WITHIN, store.set(&key, cursor)).await;
        let written = written.unwrap_or_else(|_| Err("the store does not answer".into()));
        if let Err(error) = written
            && !std::mem::replace(&mut has_warned, true)
        {
            tracing::warn!(error = %error, "a cursor cannot be stored, going on without it");
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_keeps_cursors_over_restarts_and_forgets() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("cursors.json");
        let store = FileStore::open(&path).expect("no file yet");
        for (key, cursor) in [
            ("a", Some("1")),
            ("b", Some("2")),
            ("a", Some("3")),
            ("b", None),
        ] {
            let cursor = cursor.map(str::to_owned);
            store.set(key, cursor).await.expect("it is written");
        }
        let again = FileStore::open(&path).expect("its own file");
        assert_eq!(again.get("a").await.expect("found"), Some("3".to_owned()));
        assert_eq!(again.get("b").await.expect("found"), None);
        std::fs::write(&path, "").expect("written");
        assert!(FileStore::open(&path).is_ok(), "empty after a crash");
        std::fs::write(&path, "{\"mine\":1}").expect("written");
        assert!(FileStore::open(&path).is_err(), "somebody else's");
    }

    #[tokio::test]
    async fn a_number_of_cursors_is_kept_and_the_oldest_forgotten() {
        let store = MemoryStore::default();
        for number in 0..=CURSORS_MAX {
            let key = number.to_string();
            store.set(&key, Some("c".to_owned())).await.expect("kept");
        }
        assert_eq!(store.get("0").await.expect("an answer"), None);
        assert!(store.get("1").await.expect("an answer").is_some());
    }

    #[tokio::test]
    async fn nothing_is_stored_before_the_data_of_all_gaps_is_read() {
        let store = Arc::new(MemoryStore::default());
        let key = "ticks".to_owned();
        store.set(&key, Some("c0".to_owned())).await.expect("kept");
        let (found, stored) = StoredCursor::read(store.clone(), key).await;
        assert_eq!(found.as_deref(), Some("c0"));
        let wanted = || stored.wanted.borrow().clone();
        let gap = |cursor: &str| Mark::Gap(Some(cursor.to_owned()));
        // Two gaps are on their way while an event from before them is applied.
        stored.sent(&gap("c2"));
        stored.sent(&gap("c4"));
        stored.applied(Mark::Applied("c1".to_owned()));
        assert_eq!(wanted(), None);
        stored.applied(gap("c2"));
        stored.applied(Mark::Applied("c3".to_owned()));
        assert_eq!(wanted(), None);
        stored.applied(gap("c4"));
        assert_eq!(wanted().as_deref(), Some("c4"));
        let stored = Arc::into_inner(stored).expect("the only one");
        stored.finish().await;
        let kept = store.get("ticks").await.expect("an answer");
        assert_eq!(kept.as_deref(), Some("c4"));
    }
}
