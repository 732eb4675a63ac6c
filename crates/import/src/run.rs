//! The course of an import: two readings of the file, and the writing beside the second one.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use subgraph::DateTime;
use subgraph::database::DatabaseSettings;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::disqus::Disqus;
use crate::document::{self, NewDocument};
use crate::error::{Fault, FileError};
use crate::index::{Index, IndexBuilder};
use crate::key::Key;
use crate::record::{Export, Record};
use crate::tally::{Skip, Tally};
use crate::wordpress::{WordPress, WordPressSettings};
use crate::writer::{BATCH_BYTES_MAX, BATCH_DOCUMENTS_MAX, WriteError, Writer, count};
use crate::xml::{self, Piece, Xml};

/// Batches that wait to be written.
const BATCHES_WAITING_MAX: usize = 2;
/// Connections: one writes.
const CONNECTIONS_MAX: u32 = 2;

/// Why an import ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// Nothing was written, unless the file was changed meanwhile.
    #[error("{}, {error}", .path.display())]
    File { path: PathBuf, error: FileError },
    /// What was written before stays, and is passed over by the next run.
    #[error("{0:#}: run it again, to go on")]
    Database(anyhow::Error),
    #[error("interrupted: run it again, to go on")]
    Interrupted,
}

/// Imports a file, and counts what it does.
///
/// # Errors
/// When the file cannot be imported, the database fails, or `interrupted` is cancelled.
pub async fn run(
    config: Config,
    tally: Arc<Tally>,
    interrupted: CancellationToken,
) -> Result<(), ImportError> {
    let writer = match config.dry_run {
        true => None,
        // Before the file is read, because that may take long.
        false => Some(connect(&config, &tally, &interrupted).await?),
    };
    let reading = Reading {
        config: Arc::new(config),
        tally,
        // It also stops when the writing has failed.
        stopped: interrupted.child_token(),
    };
    let index = {
        let reading = reading.clone();
        spawn_blocking(move || reading.index())
    };
    let index = index.await.map_err(panicked)??;
    let (sender, batches) = mpsc::channel(BATCHES_WAITING_MAX);
    let second = {
        let reading = reading.clone();
        spawn_blocking(move || reading.convert(index, sender))
    };
    let written = write_all(writer, batches, &reading.tally, &interrupted).await;
    if written.is_err() {
        reading.stopped.cancel();
    }
    let read = second.await.map_err(panicked)?;
    written.and(read)
}

/// Writes batches as they come, or counts them where nothing is written.
async fn write_all(
    writer: Option<Writer>,
    mut batches: mpsc::Receiver<Vec<NewDocument>>,
    tally: &Tally,
    interrupted: &CancellationToken,
) -> Result<(), ImportError> {
    while let Some(batch) = batches.recv().await {
        if interrupted.is_cancelled() {
            return Err(ImportError::Interrupted);
        }
        match &writer {
            None => batch.iter().for_each(|it| count(it, tally)),
            Some(writer) => writer.write(batch).await.map_err(|error| match error {
                WriteError::Interrupted => ImportError::Interrupted,
                error => ImportError::Database(error.into()),
            })?,
        }
    }
    Ok(())
}

/// The thread that reads has no way to fail but by a fault of ours.
fn panicked(error: tokio::task::JoinError) -> ImportError {
    ImportError::Database(anyhow::Error::new(error).context("the reading of the file has failed"))
}

async fn connect(
    config: &Config,
    tally: &Arc<Tally>,
    interrupted: &CancellationToken,
) -> Result<Writer, ImportError> {
    let settings = DatabaseSettings {
        mongo_uri: config.mongo_uri.clone(),
        database_connections_max: CONNECTIONS_MAX,
        database_queue_max: 1,
        database_wait_max: Duration::from_secs(10),
        partitions: 0,
        is_traced: false,
    };
    let database = settings.connect("import").await;
    let database = database.map_err(ImportError::Database)?;
    let writer = Writer::new(&database, tally.clone(), interrupted.clone()).await;
    writer.map_err(|error| ImportError::Database(error.into()))
}

/// Finds out which kind of export a file is, by its root element.
///
/// # Errors
/// When it is none.
pub fn open(path: &Path, settings: WordPressSettings) -> Result<Box<dyn Export>, FileError> {
    let file = File::open(path).map_err(|error| FileError {
        line: 1,
        byte: 0,
        fault: Fault::Io(error),
    })?;
    let mut xml = Xml::new(file)?;
    match xml.read()? {
        Piece::Open { name, .. } if name == "rss" => Ok(Box::new(WordPress::new(xml, settings))),
        Piece::Open { name, .. } if name == "disqus" => Ok(Box::new(Disqus::new(xml))),
        Piece::Open { name, .. } => Err(xml.fail(Fault::OtherKind(name))),
        // Before the root there is nothing else.
        _ => Err(xml.fail(Fault::Empty)),
    }
}

/// What both readings of the file need.
#[derive(Clone)]
struct Reading {
    config: Arc<Config>,
    tally: Arc<Tally>,
    stopped: CancellationToken,
}

impl Reading {
    /// The first reading.
    fn index(&self) -> Result<Index, ImportError> {
        let mut builder = IndexBuilder::new(self.config.pending);
        self.read(false, |record, site| builder.add(&record, site))?;
        Ok(builder.finish())
    }

    /// The second reading: converts what is imported, in batches.
    fn convert(
        &self,
        index: Index,
        batches: mpsc::Sender<Vec<NewDocument>>,
    ) -> Result<(), ImportError> {
        self.tally.is_importing.store(true, Ordering::Relaxed);
        let mut conversion = Conversion {
            index,
            batches,
            batch: Vec::new(),
            bytes: 0,
            tally: self.tally.clone(),
            now: DateTime::now(),
        };
        self.read(true, |record, site| conversion.add(&record, site))?;
        conversion.send();
        Ok(())
    }

    /// Reads the file from its beginning to its end.
    fn read(
        &self,
        posts_first: bool,
        mut add: impl FnMut(Record, &str) -> Result<(), Fault>,
    ) -> Result<(), ImportError> {
        let path = &self.config.file;
        let failed = |error| ImportError::File {
            error: xml::locate(error, path),
            path: path.clone(),
        };
        let settings = WordPressSettings {
            post_types: self.config.post_types.clone(),
            posts_first,
        };
        let total = std::fs::metadata(path).map_or(0, |file| file.len());
        self.tally.bytes_total.store(total, Ordering::Relaxed);
        let mut export = open(path, settings).map_err(failed)?;
        loop {
            let record = export.next().map_err(failed)?;
            let position = export.position();
            self.tally.bytes_read.store(position, Ordering::Relaxed);
            if self.stopped.is_cancelled() {
                return Err(ImportError::Interrupted);
            }
            let Some(record) = record else {
                return Ok(());
            };
            let site = self.config.site.as_deref();
            add(record, site.unwrap_or(export.site())).map_err(|fault| {
                failed(FileError {
                    line: 0,
                    byte: position,
                    fault,
                })
            })?;
        }
    }
}

/// Makes documents of records.
struct Conversion {
    index: Index,
    batches: mpsc::Sender<Vec<NewDocument>>,
    batch: Vec<NewDocument>,
    /// Of the batch.
    bytes: usize,
    tally: Arc<Tally>,
    now: DateTime,
}

impl Conversion {
    fn add(&mut self, record: &Record, site: &str) -> Result<(), Fault> {
        let new = match record {
            Record::Post(post) => {
                let entry = self.index.post(post.ordinal).ok_or(Fault::Changed)?;
                let key = post.id.as_ref().map(|id| Key::of_post(site, id));
                match (entry.skip, key) {
                    _ if key != entry.key => return Err(Fault::Changed),
                    (Some(reason), _) => Err(reason),
                    (None, None) => Err(Skip::NoId),
                    (None, Some(key)) => Ok(document::of_post(post, key, self.now)),
                }
            }
            Record::Comment(comment) => {
                let key = comment.id.as_ref().map(|id| Key::of_comment(site, id));
                let placed = self.index.take(key)?;
                placed.map(|placed| document::of_comment(comment, placed, self.now))
            }
        };
        match new {
            Ok(new) => self.push(new),
            Err(reason) => self.tally.skip(reason),
        }
        Ok(())
    }

    fn push(&mut self, new: NewDocument) {
        if !self.batch.is_empty() && self.bytes + new.bytes > BATCH_BYTES_MAX {
            self.send();
        }
        self.bytes += new.bytes;
        self.batch.push(new);
        if self.batch.len() >= BATCH_DOCUMENTS_MAX {
            self.send();
        }
    }

    fn send(&mut self) {
        self.bytes = 0;
        let batch = std::mem::take(&mut self.batch);
        // Nobody takes it after an interruption or a failure, which is reported there.
        if !batch.is_empty() {
            let _ = self.batches.blocking_send(batch);
        }
    }
}
