//! Splits a file or a pipe into JSON documents.
//!
//! A JSON parser finds the ends of documents; their bytes are sent unchanged. A file is read twice: nothing is sent
//! before the whole file is known to be JSON.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufReader, Chain, Cursor, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::Context as _;
use bytes::Bytes;
use serde_json::Deserializer;
use serde_json::value::RawValue;
use tokio::sync::mpsc;

use crate::commands::complain;

/// Maximum number of documents read ahead.
const READ_AHEAD: usize = 64;

const UTF8_MARK: &[u8] = b"\xef\xbb\xbf";
const UTF16_MARKS: [&[u8]; 2] = [b"\xff\xfe", b"\xfe\xff"];

/// One of the documents.
pub(super) struct Document {
    pub(super) bytes: Bytes,
    /// The line on which it begins, if it was read from a text.
    pub(super) line: Option<usize>,
}

impl Document {
    /// Its name in messages.
    pub(super) fn name(&self, number: u64) -> String {
        name(number, self.line)
    }

    fn is_object(&self) -> bool {
        self.bytes.first() == Some(&b'{')
    }
}

/// The name in messages of the document with this number or on this line.
pub(super) fn name(number: u64, line: Option<usize>) -> String {
    match line {
        Some(line) => format!("the document at line {line}"),
        None => format!("document {number}"),
    }
}

/// The source of documents.
pub(super) enum DocumentInput {
    /// All documents are read before the first is sent, so that their number is known.
    File(PathBuf, u64),
    /// That can be read once.
    Pipe(PathBuf),
}

impl DocumentInput {
    /// `-` is stdin. `check` may refuse a document of a file before anything is sent.
    ///
    /// # Errors
    /// A file that can't be read, that is not JSON, or a document that is refused: with its line.
    pub(super) async fn open(
        path: &Path,
        mut check: impl FnMut(&Document) -> anyhow::Result<()> + Send + 'static,
    ) -> anyhow::Result<Self> {
        let path = path.to_owned();
        let is_file = path != Path::new("-") && std::fs::metadata(&path).is_ok_and(|found| found.is_file());
        if !is_file {
            return Ok(Self::Pipe(path));
        }
        let counted = tokio::task::spawn_blocking(move || {
            let mut count = 0;
            read(&path, |document| {
                check(&document)?;
                count += 1;
                Ok(true)
            })?;
            anyhow::ensure!(count > 0, "{}: it contains no document", path.display());
            Ok(Self::File(path, count))
        });
        counted.await?.map_err(|error: anyhow::Error| error.context("nothing was sent"))
    }

    /// The number of documents, if known.
    pub(super) fn count(&self) -> Option<u64> {
        match self {
            Self::File(_, count) => Some(*count),
            Self::Pipe(_) => None,
        }
    }

    /// Reads the documents. An error is the last that comes.
    pub(super) fn start(self) -> mpsc::Receiver<anyhow::Result<Document>> {
        let (documents, read_documents) = mpsc::channel(READ_AHEAD);
        let (Self::File(path, _) | Self::Pipe(path)) = self;
        // To read stdin blocks, for as long as nothing comes.
        std::thread::spawn(move || {
            let mut is_said = false;
            let ended = read(&path, |document| {
                if !document.is_object() && !is_said {
                    is_said = true;
                    complain(&format!(
                        "line {}: the document is not an object, so the service will make it a dead letter \
                         (the elements of an array are documents after jq -c '.[]')",
                        document.line.unwrap_or_default()
                    ));
                }
                Ok(documents.blocking_send(Ok(document)).is_ok())
            });
            if let Err(error) = ended {
                // The receiver is gone where sending failed: that error is shown.
                drop(documents.blocking_send(Err(error)));
            }
        });
        read_documents
    }
}

/// Passes each document to `show` until it returns `false`.
fn read(path: &Path, show: impl FnMut(Document) -> anyhow::Result<bool>) -> anyhow::Result<()> {
    if path == Path::new("-") {
        return read_from(std::io::stdin().lock(), show);
    }
    let opened = File::open(path).with_context(|| format!("can't read {}", path.display()))?;
    read_from(opened, show).with_context(|| path.display().to_string())
}

fn read_from(
    source: impl Read,
    mut show: impl FnMut(Document) -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let source = without_mark(BufReader::with_capacity(1 << 16, source))?;
    let (source, lines) = CountsLines::new(source);
    for document in Deserializer::from_reader(source).into_iter::<Box<RawValue>>() {
        let text: Box<str> = document.map_err(|error| explain(error, lines.get()))?.into();
        let within = text.bytes().filter(|&byte| byte == b'\n').count();
        let line = lines.get().at_last_byte() - within;
        lines.set(lines.get().after(&text));
        if !show(Document { bytes: Bytes::from(text.into_boxed_bytes()), line: Some(line) })? {
            break;
        }
    }
    Ok(())
}

/// The byte order mark that programs on Windows write is not part of the text.
fn without_mark<R: Read>(mut source: R) -> anyhow::Result<Chain<Cursor<Vec<u8>>, R>> {
    let mut head = Vec::new();
    source.by_ref().take(UTF8_MARK.len() as u64).read_to_end(&mut head).context("can't read it")?;
    anyhow::ensure!(
        !UTF16_MARKS.iter().any(|mark| head.starts_with(mark)),
        "line 1: the text is UTF-16; JSON is sent as UTF-8, so convert it first (iconv -f UTF-16 -t UTF-8)"
    );
    if head == UTF8_MARK {
        head.clear();
    }
    Ok(Cursor::new(head).chain(source))
}

/// The error and its location, in one line. The parser's message does not quote the document.
fn explain(error: serde_json::Error, lines: Lines) -> anyhow::Error {
    if error.is_io() {
        return anyhow::Error::new(error).context("can't read it");
    }
    if error.is_eof() {
        let (end, begun) = (lines.at_last_byte(), lines.begun.unwrap_or(lines.current));
        return anyhow::anyhow!("line {end}: the text ends within the document that begins on line {begun}");
    }
    let position = format!(" at line {} column {}", error.line(), error.column());
    let said = error.to_string();
    let said = match said.strip_suffix(&position).unwrap_or(&said) {
        // Escapes are not looked at: that is left for the bytes.
        "invalid unicode code point" => "the document is not UTF-8",
        "expected ident" => "the only words without quotes are true, false and null",
        "expected value" => "a value is expected here",
        "key must be a string" => "a member's name in double quotes is expected here",
        said if error.column() == 0 && said.starts_with("control character") => {
            "a string has a line break, which JSON writes as \\n"
        }
        said => said,
    };
    // After a line break, the parser is at the start of the next line.
    match error.column() {
        0 => anyhow::anyhow!("line {}, at its end: this is not JSON: {said}", error.line().saturating_sub(1)),
        column => anyhow::anyhow!("line {}, column {column}: this is not JSON: {said}", error.line()),
    }
}

/// Counts line breaks, for a parser that reads byte by byte.
struct CountsLines<R> {
    source: R,
    lines: Rc<Cell<Lines>>,
}

#[derive(Clone, Copy)]
struct Lines {
    /// The line of the next byte.
    current: usize,
    last: u8,
    /// The line on which the document begins that is being read.
    begun: Option<usize>,
}

impl Lines {
    /// A number ends at the next byte, which may be a line break.
    fn at_last_byte(self) -> usize {
        self.current - usize::from(self.last == b'\n')
    }

    fn add(&mut self, byte: u8) {
        if self.begun.is_none() && !byte.is_ascii_whitespace() {
            self.begun = Some(self.current);
        }
        self.current += usize::from(byte == b'\n');
        self.last = byte;
    }

    /// Before the next document, of which the first byte may have been read as the end of a number.
    fn after(self, document: &str) -> Self {
        let is_number = document.ends_with(|last: char| last.is_ascii_digit());
        let begun = Some(self.current).filter(|_| is_number && !self.last.is_ascii_whitespace());
        Self { begun, ..self }
    }
}

impl<R: Read> CountsLines<R> {
    fn new(source: R) -> (Self, Rc<Cell<Lines>>) {
        let lines = Rc::new(Cell::new(Lines { current: 1, last: b' ', begun: None }));
        (Self { source, lines: lines.clone() }, lines)
    }
}

impl<R: Read> Read for CountsLines<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.source.read(buffer)?;
        let mut lines = self.lines.get();
        buffer[..length].iter().for_each(|byte| lines.add(*byte));
        self.lines.set(lines);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The documents with their lines, and the error, if any.
    fn documents(text: &[u8]) -> (Vec<(String, usize)>, Option<String>) {
        let mut found = Vec::new();
        let ended = read_from(text, |document| {
            found.push((String::from_utf8(document.bytes.to_vec()).unwrap(), document.line.unwrap()));
            Ok(true)
        });
        (found, ended.err().map(|error| format!("{error:#}")))
    }

    fn texts(text: &str) -> Vec<String> {
        let (found, error) = documents(text.as_bytes());
        assert_eq!(error, None, "{text}");
        found.into_iter().map(|(text, _)| text).collect()
    }

    #[test]
    fn documents_end_where_json_says() {
        for (text, right) in [
            ("", &[][..]),
            (" \n\t\r\n", &[]),
            ("{}", &["{}"]),
            ("{}{}[1]2 \"a\"\n\nnull\n", &["{}", "{}", "[1]", "2", "\"a\"", "null"]),
            ("{\"a\": [1,\n 2]}\r\n{\"b\":\"}{\"}\n", &["{\"a\": [1,\n 2]}", "{\"b\":\"}{\"}"]),
            ("\u{feff}{}\n{}", &["{}", "{}"]),
            // Unchanged, whatever their meaning.
            ("{\"a\":\"\\ud83d\", \"a\":-0.0e99999}", &["{\"a\":\"\\ud83d\", \"a\":-0.0e99999}"]),
        ] {
            assert_eq!(texts(text), right, "{text}");
        }
        let deep = "[".repeat(20_000) + &"]".repeat(20_000);
        assert_eq!(texts(&deep), [deep]);
    }

    #[test]
    fn document_has_the_line_on_which_it_begins() {
        let (found, error) = documents(b"\n{\"a\":\n1}\n\n{} []\n7\n8\n");
        assert_eq!(found.iter().map(|(_, line)| *line).collect::<Vec<_>>(), [2, 5, 5, 6, 7]);
        assert_eq!(error, None);
    }

    #[test]
    fn text_that_ends_within_a_document_is_said_with_the_lines_of_its_end_and_its_beginning() {
        for (text, end, begun) in [
            ("{}\n{\"secret\":\n[1,", 3, 2),
            ("{}\n\n{\"secret\":1,\n\n", 4, 3),
            ("{\"a\":1}{\"secret", 1, 1),
            ("1\n2{", 2, 2),
            ("1\n2 {\n\n", 3, 2),
            ("tru", 1, 1),
            ("{\"a\":nul", 1, 1),
            ("\"secret", 1, 1),
            ("\n\n{\"a\":[-1,", 3, 3),
            ("\u{feff}\n[", 2, 2),
        ] {
            let error = documents(text.as_bytes()).1.unwrap_or_default();
            let right = format!("line {end}: the text ends within the document that begins on line {begun}");
            assert_eq!(error, right, "{text}");
        }
    }

    #[test]
    fn reasons_are_in_the_words_of_json() {
        for (text, reason) in [
            ("secret", "a value is expected here"),
            ("no", "the only words without quotes are true, false and null"),
            ("{'a':1}", "a member's name in double quotes is expected here"),
            ("{\"a\":1,}", "a member's name in double quotes is expected here"),
            ("[1,]", "a value is expected here"),
            ("{\"a\" 1}", "expected `:`"),
            ("<html>", "a value is expected here"),
            ("\n-", "invalid number"),
            ("{\"a\":\"b\n\"}", "a string has a line break, which JSON writes as \\n"),
            ("{\"a\":\"b\t\"}", "control character (\\u0000-\\u001F) found while parsing a string"),
        ] {
            let error = documents(text.as_bytes()).1.unwrap_or_default();
            assert!(error.ends_with(&format!("this is not JSON: {reason}")), "{text}: {error}");
        }
    }

    #[test]
    fn what_is_not_json_is_named_by_its_line() {
        for (text, count, line) in [
            (&b"{}\n{\n\"a\":1,\n}\n"[..], 1, 4),
            (b"{},\n{}", 1, 1),
            (b"{}\n{\"a\"", 1, 2),
            (b"{}\n\n{'a':1}", 1, 3),
            (b"{}\n{\"a\":\"\xff\"}\n{}", 1, 2),
            (b"{}\n{\"a\":\"secret\x01\"}", 1, 2),
            (b"{}\nsecret", 1, 2),
            (b"NaN", 0, 1),
            (b"\xff\xfe{\0}\0", 0, 1),
            (b"1 2x", 1, 1),
            // The error is at the line break.
            (b"{}\n{\"a\":\"secret\n\"}\n{}", 1, 2),
            (b"{\"a\":\"secret\r\n\"}", 0, 1),
            (b"{}\n{\"a\":tru\n}", 1, 2),
            (b"{}\n{\"a\":-\n}", 1, 2),
            (b"{}\n\n-\n\n", 1, 3),
            (b"{}\n{\"a\":\"secret\\\n\"}", 1, 2),
        ] {
            let (found, error) = documents(text);
            let error = error.unwrap_or_default();
            assert_eq!(found.len(), count, "{error}");
            assert!(
                error.starts_with(&format!("line {line}")) && !error.contains("secret"),
                "{line}: {error}"
            );
        }
    }
}
