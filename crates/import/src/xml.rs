//! Reads XML as a stream of elements and texts, in bounded memory.
//!
//! Entities that a DTD declares are never expanded: their references stay as they are written, so no text grows.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quick_xml::events::{BytesRef, BytesStart, Event};
use quick_xml::{Error, Reader};

use crate::error::{Fault, FileError};

/// The longest single text or tag, in bytes: it is in memory as a whole.
pub const PIECE_BYTES_MAX: u64 = 32 << 20;
/// Elements in elements. Exports have five.
const DEPTH_MAX: usize = 64;
/// What is read from the file at a time.
const READ_BYTES: usize = 256 << 10;
/// Names of elements that are remembered; the rest of a longer one is dropped.
const NAME_BYTES_MAX: usize = 100;

/// A piece of a file.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// An element begins: its name with the prefix as written, and its attribute `dsq:id`.
    Open { name: String, id: Option<String> },
    /// Text in the innermost element; several of them follow each other.
    Text(String),
    /// The innermost element ends.
    Close,
    /// The file ends, after its last element.
    End,
}

/// A file that is read from its beginning.
pub struct Xml {
    reader: Reader<BufReader<Limited>>,
    buffer: Vec<u8>,
    /// How far the file may be read for the next piece.
    limit: Arc<AtomicU64>,
    /// The names of the open elements.
    open: Vec<String>,
    /// The end of an element that was written as one tag.
    pending_close: bool,
    has_root: bool,
}

impl Xml {
    /// Reads a file from its beginning.
    ///
    /// # Errors
    /// When the file cannot be read, or is in UTF-16.
    pub fn new(mut file: File) -> Result<Self, FileError> {
        let read = beginning(&mut file);
        let start = read.map_err(|error| at_start(Fault::Io(error)))?;
        if let [0xFE, 0xFF, ..] | [0xFF, 0xFE, ..] = *start {
            return Err(at_start(Fault::Encoding("UTF-16".to_owned())));
        }
        let limit = Arc::new(AtomicU64::new(0));
        let limited = Limited {
            file,
            read: 0,
            limit: limit.clone(),
        };
        let mut reader = Reader::from_reader(BufReader::with_capacity(READ_BYTES, limited));
        // Older exports have addresses with a bare `&`.
        reader.config_mut().allow_dangling_amp = true;
        Ok(Self {
            reader,
            buffer: Vec::new(),
            limit,
            open: Vec::new(),
            pending_close: false,
            has_root: false,
        })
    }

    /// How many elements are open.
    pub fn depth(&self) -> usize {
        self.open.len()
    }

    /// The name of the element in which the innermost one is; empty for the root.
    pub fn parent(&self) -> &str {
        match self.open.as_slice() {
            [.., parent, _] => parent,
            _ => "",
        }
    }

    /// Bytes of the file before the next piece.
    pub fn position(&self) -> u64 {
        self.reader.buffer_position()
    }

    /// The next piece of the file.
    ///
    /// # Errors
    /// [`Fault`]s, with the byte; [`locate`] adds the line.
    pub fn read(&mut self) -> Result<Piece, FileError> {
        if std::mem::take(&mut self.pending_close) {
            self.open.pop();
            return Ok(Piece::Close);
        }
        loop {
            self.buffer.clear();
            // A long text leaves no long buffer behind.
            self.buffer.shrink_to(READ_BYTES);
            let position = self.reader.buffer_position();
            self.limit
                .store(position + PIECE_BYTES_MAX, Ordering::Relaxed);
            let event = match self.reader.read_event_into(&mut self.buffer) {
                Ok(event) => event,
                Err(error) => {
                    let fault = self.fault(error);
                    return Err(self.error(position, fault));
                }
            };
            match event {
                Event::Start(tag) => {
                    let piece = opened(&tag);
                    return self.push(piece, position);
                }
                Event::Empty(tag) => {
                    let piece = opened(&tag);
                    self.pending_close = true;
                    return self.push(piece, position);
                }
                Event::End(_) => {
                    self.open.pop();
                    return Ok(Piece::Close);
                }
                Event::Text(text) => {
                    let text = text.xml10_content();
                    if self.open.is_empty() {
                        if text.trim().is_empty() {
                            continue;
                        }
                        let start = text.trim_start().chars().take(20).collect();
                        return Err(self.error(position, Fault::OtherKind(start)));
                    }
                    return Ok(Piece::Text(text.into_owned()));
                }
                Event::CData(text) => return Ok(Piece::Text(text.xml10_content().into_owned())),
                Event::GeneralRef(reference) => {
                    return Ok(Piece::Text(resolved(&reference)));
                }
                Event::Decl(declaration) => {
                    if let Some(Ok(encoding)) = declaration.encoding()
                        && !["UTF-8", "UTF8", "US-ASCII", "ASCII"]
                            .iter()
                            .any(|known| encoding.eq_ignore_ascii_case(known))
                    {
                        let encoding = encoding.chars().take(40).collect();
                        return Err(self.error(position, Fault::Encoding(encoding)));
                    }
                }
                Event::Comment(_) | Event::PI(_) | Event::DocType(_) => {}
                Event::Eof => {
                    let end = self.reader.buffer_position();
                    return match self.open.pop() {
                        Some(name) => Err(self.error(end, Fault::Truncated(name))),
                        None if !self.has_root => Err(self.error(end, Fault::Empty)),
                        None => Ok(Piece::End),
                    };
                }
            }
        }
    }

    /// An error at the next piece.
    pub fn fail(&self, fault: Fault) -> FileError {
        self.error(self.position(), fault)
    }

    fn push(&mut self, piece: Piece, position: u64) -> Result<Piece, FileError> {
        if self.open.len() >= DEPTH_MAX {
            return Err(self.error(position, Fault::TooDeep { max: DEPTH_MAX }));
        }
        if let Piece::Open { name, .. } = &piece {
            self.open.push(name.clone());
        }
        self.has_root = true;
        Ok(piece)
    }

    fn fault(&self, error: Error) -> Fault {
        match error {
            Error::Encoding(_) => Fault::NotUtf8,
            Error::Io(io) if io.kind() == io::ErrorKind::FileTooLarge => Fault::TooLong {
                max: PIECE_BYTES_MAX,
            },
            Error::Io(io) if io.kind() == io::ErrorKind::InvalidData => Fault::NotUtf8,
            Error::Io(io) => Fault::Io(io::Error::new(io.kind(), io.to_string())),
            // The file ends in a tag or a text.
            Error::Syntax(_) if self.open.last().is_some() => {
                Fault::Truncated(self.open.last().cloned().unwrap_or_default())
            }
            error => Fault::Xml(error),
        }
    }

    fn error(&self, byte: u64, fault: Fault) -> FileError {
        FileError {
            line: 0,
            byte,
            fault,
        }
    }
}

/// Adds the line to an error: the file is read up to the place once more.
pub fn locate(error: FileError, path: &Path) -> FileError {
    let lines = File::open(path).and_then(|file| {
        let mut before = BufReader::new(file).take(error.byte);
        let (mut lines, mut chunk) = (1, vec![0; READ_BYTES]);
        loop {
            let read = before.read(&mut chunk)?;
            if read == 0 {
                return io::Result::Ok(lines);
            }
            let breaks = chunk[..read].iter().filter(|byte| **byte == b'\n');
            lines += breaks.count() as u64;
        }
    });
    FileError {
        line: lines.unwrap_or(1),
        ..error
    }
}

fn at_start(fault: Fault) -> FileError {
    FileError {
        line: 1,
        byte: 0,
        fault,
    }
}

/// The first two bytes of a file, which is then at its beginning again.
fn beginning(file: &mut File) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    file.rewind()?;
    file.take(2).read_to_end(&mut start)?;
    file.rewind()?;
    Ok(start)
}

fn opened(tag: &BytesStart<'_>) -> Piece {
    let name = tag.name();
    let name: &str = name.as_ref();
    let id = tag.try_get_attribute("dsq:id").ok().flatten();
    Piece::Open {
        name: name.chars().take(NAME_BYTES_MAX).collect(),
        id: id.map(|id| id.value.chars().take(NAME_BYTES_MAX).collect()),
    }
}

/// What a reference stands for: one of XML's own, or a character. All others stay as written.
fn resolved(reference: &BytesRef<'_>) -> String {
    if let Ok(Some(character)) = reference.resolve_char_ref() {
        return character.to_string();
    }
    let name = reference.xml10_content();
    match &*name {
        "lt" => "<".to_owned(),
        "gt" => ">".to_owned(),
        "amp" => "&".to_owned(),
        "quot" => "\"".to_owned(),
        "apos" => "'".to_owned(),
        name => format!("&{name};"),
    }
}

/// A file that is not read further than a limit.
struct Limited {
    file: File,
    read: u64,
    limit: Arc<AtomicU64>,
}

impl Read for Limited {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // What is in the buffer before counts as well, so a piece may be longer by that.
        if self.read > self.limit.load(Ordering::Relaxed) {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge));
        }
        let read = self.file.read(buffer)?;
        self.read += read as u64;
        Ok(read)
    }
}
