//! Why an import ends before its end.

use std::io;

/// A file that cannot be imported, with the place of the fault.
#[derive(Debug, thiserror::Error)]
#[error("line {line}, byte {byte}: {fault}")]
pub struct FileError {
    /// The line, from 1.
    pub line: u64,
    /// Bytes before the fault.
    pub byte: u64,
    #[source]
    pub fault: Fault,
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error("the file cannot be read: {0}")]
    Io(#[source] io::Error),
    #[error("this is no XML: {0}")]
    Xml(#[source] quick_xml::Error),
    #[error(
        "the text is not UTF-8: find out which encoding it has, and convert the file (iconv -f ISO-8859-1 -t UTF-8)"
    )]
    NotUtf8,
    #[error(
        "the file says that it is in {0}, but only UTF-8 is read: convert it (iconv -f {0} -t UTF-8), and correct its first line"
    )]
    Encoding(String),
    #[error("the file ends inside <{0}>: it is not complete, so export it again")]
    Truncated(String),
    #[error("the file is empty")]
    Empty,
    #[error("<{0}> is neither the <rss> of a WordPress export nor the <disqus> of a Disqus export")]
    OtherKind(String),
    #[error("this is an RSS feed, but no WordPress export: it has no <wp:wxr_version>")]
    NoWxr,
    #[error("the export has the version {0:?}; 1.0, 1.1 and 1.2 are known")]
    Version(String),
    #[error("elements are nested deeper than {max}")]
    TooDeep { max: usize },
    #[error("a single text or tag is longer than {max} bytes")]
    TooLong { max: u64 },
    #[error("the file has more than {max} {what}: split it")]
    TooMany { what: &'static str, max: usize },
    #[error("the file was changed while it was imported: begin again")]
    Changed,
}
