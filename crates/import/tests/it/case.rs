//! A file to import, and a database of its own.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bson::oid::ObjectId;
use bson::{Document, doc};
use clap::Parser;
use embedded_mongo::TestDatabase;
use import::key::Key;
use import::tally::{Skip, Tally, get};
use import::{Config, ImportError};
use mongodb::Collection;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

pub const WORDPRESS: &str = include_str!("../samples/wordpress.xml");
pub const DISQUS: &str = include_str!("../samples/disqus.xml");
/// The site of [`WORDPRESS`].
pub const GARDEN: &str = "https://garden.example";

/// A database, and a folder for files.
pub struct Case {
    pub database: TestDatabase,
    folder: TempDir,
}

impl Case {
    pub async fn new() -> Self {
        Self::on(embedded_mongo::test_database().await)
    }

    pub fn on(database: TestDatabase) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self { database, folder }
    }

    /// Writes the file to import.
    pub fn write(&self, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder.path().join("export.xml");
        std::fs::write(&path, content).expect("written");
        path
    }

    /// Imports a file with these flags.
    pub async fn run(
        &self,
        content: impl AsRef<[u8]>,
        flags: &[&str],
    ) -> (Result<(), ImportError>, Arc<Tally>) {
        let path = self.write(content);
        run(&self.database, &path, flags).await
    }

    /// Imports a file that is in order.
    pub async fn import(&self, content: impl AsRef<[u8]>) -> Arc<Tally> {
        let (outcome, tally) = self.run(content, &[]).await;
        outcome.expect("imported");
        tally
    }

    /// What is wrong with a file, of which nothing is written.
    pub async fn refusal(&self, content: impl AsRef<[u8]>) -> String {
        let (outcome, _) = self.run(content, &[]).await;
        let error = outcome.expect_err("a damaged file");
        assert!(matches!(error, ImportError::File { .. }), "{error}");
        assert_eq!(self.count("posts").await, 0);
        assert_eq!(self.count("comments").await, 0);
        error.to_string()
    }

    pub fn collection(&self, name: &str) -> Collection<Document> {
        self.database.database().collection(name)
    }

    pub async fn count(&self, name: &str) -> u64 {
        let collection = self.collection(name);
        collection.count_documents(doc! {}).await.expect("counted")
    }

    pub async fn find(&self, name: &str, id: ObjectId) -> Option<Document> {
        let collection = self.collection(name);
        let found = collection.find_one(doc! { "_id": id }).await;
        found.expect("read")
    }

    /// A document without what is the same in all of them.
    pub async fn fields(&self, name: &str, id: ObjectId) -> String {
        let mut document = self.find(name, id).await.expect("imported");
        document.remove("_id");
        document.remove("postId");
        document.to_string()
    }
}

/// Imports a file into a database with these flags.
pub async fn run(
    database: &TestDatabase,
    path: &Path,
    flags: &[&str],
) -> (Result<(), ImportError>, Arc<Tally>) {
    let path = path.to_str().expect("UTF-8");
    let mut arguments = vec!["import", path, "--mongo-uri", database.uri()];
    arguments.extend(flags);
    let tally = Arc::new(Tally::default());
    let interrupted = CancellationToken::new();
    let config = Config::parse_from(arguments);
    (import::run(config, tally.clone(), interrupted).await, tally)
}

/// The `_id` of a comment of a site.
pub fn comment(site: &str, id: &str) -> ObjectId {
    Key::of_comment(site, id).object_id()
}

/// The `_id` of a post of a site.
pub fn post(site: &str, id: &str) -> ObjectId {
    Key::of_post(site, id).object_id()
}

/// The counts of posts, comments, replies and held comments.
pub fn counts(tally: &Tally) -> [u64; 4] {
    [&tally.posts, &tally.comments, &tally.replies, &tally.held].map(get)
}

/// The counts of what was skipped, without those that are 0.
pub fn skipped(tally: &Tally) -> Vec<(Skip, u64)> {
    let all = import::tally::SKIPS.iter();
    let all = all.map(|(skip, _)| (*skip, tally.skipped(*skip)));
    all.filter(|(_, count)| *count > 0).collect()
}

/// A WordPress export with one post and these comments.
pub fn export_of(comments: &str) -> String {
    format!(
        "<rss><channel><wp:wxr_version>1.2</wp:wxr_version><link>https://a.example</link><item>\
         <title>T</title><content:encoded>C</content:encoded><wp:post_id>1</wp:post_id>\
         <wp:post_date_gmt>2020-01-01 00:00:00</wp:post_date_gmt><wp:status>publish</wp:status>\
         <wp:post_type>post</wp:post_type>{comments}</item></channel></rss>"
    )
}

/// The site of [`export_of`].
pub const SITE: &str = "https://a.example";

/// A comment in a WordPress export.
pub fn comment_xml(id: u32, parent: u32, text: &str) -> String {
    format!(
        "<wp:comment><wp:comment_id>{id}</wp:comment_id><wp:comment_author>A</wp:comment_author>\
         <wp:comment_date_gmt>2020-01-01 00:00:00</wp:comment_date_gmt><wp:comment_content>{text}\
         </wp:comment_content><wp:comment_approved>1</wp:comment_approved>\
         <wp:comment_parent>{parent}</wp:comment_parent></wp:comment>\n"
    )
}
