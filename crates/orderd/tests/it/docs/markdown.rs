//! A parser for the documents: code blocks, inline code, headings, links, tables.

use std::path::Path;

use devstack::tools;
use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

/// One document.
#[derive(Default)]
pub(super) struct Document {
    /// Its path from the workspace.
    pub(super) name: String,
    pub(super) blocks: Vec<Block>,
    /// Code between backticks.
    pub(super) code: Vec<String>,
    pub(super) headings: Vec<String>,
    /// Targets of links and pictures.
    pub(super) links: Vec<String>,
    pub(super) rows: Vec<Row>,
}

/// A block of code.
pub(super) struct Block {
    /// The info string: the language and, for commands, what to do with them.
    pub(super) mark: String,
    pub(super) text: String,
    /// Whether it directly follows the previous block, without text in between.
    pub(super) follows: bool,
}

/// One row of a table.
pub(super) struct Row {
    /// The header of the table's first column.
    pub(super) of: String,
    pub(super) cells: Vec<Cell>,
}

/// One cell of a table.
#[derive(Default)]
pub(super) struct Cell {
    pub(super) text: String,
    /// Code between backticks, which is in the text too.
    pub(super) code: Vec<String>,
}

impl Document {
    /// Reads a document, by its path from the workspace.
    pub(super) fn read(name: &str) -> Self {
        let text = std::fs::read_to_string(tools::workspace().join(name)).unwrap();
        let mut reader = Reader::default();
        for event in Parser::new_ext(&text, Options::ENABLE_TABLES) {
            reader.take(event);
        }
        Self { name: name.into(), ..reader.document }
    }

    /// Every document of the workspace.
    pub(super) fn all() -> Vec<Self> {
        let mut found = Vec::new();
        collect(&tools::workspace(), &mut found);
        found.sort();
        found.iter().map(|name| Self::read(name)).collect()
    }

    /// The rows of the tables with that heading above their first column.
    pub(super) fn rows_of(&self, of: &str) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |row| row.of == of)
    }
}

fn collect(dir: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        // Vendored code has its authors' documents.
        let is_ours = !name.starts_with('.') && name != "target" && name != "async-nats";
        if path.is_dir() && !path.is_symlink() && is_ours {
            collect(&path, found);
        } else if name.ends_with(".md") {
            found.push(path.strip_prefix(tools::workspace()).unwrap().display().to_string());
        }
    }
}

#[derive(Default)]
struct Reader {
    document: Document,
    /// The current heading, block or cell.
    open: Cell,
    in_head: bool,
    /// Since the last block of code.
    has_words: bool,
    /// Above the first column of the table that is being read.
    of: Option<String>,
}

impl Reader {
    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag),
            Event::Text(text) => self.open.text.push_str(&text),
            Event::Code(code) => {
                self.open.text.push_str(&code);
                self.open.code.push(code.to_string());
                self.document.code.push(code.to_string());
            }
            _ => {}
        }
    }

    fn start(&mut self, tag: Tag<'_>) {
        match tag {
            Tag::CodeBlock(kind) => {
                self.open = Cell::default();
                let mark = match kind {
                    CodeBlockKind::Fenced(mark) => mark.to_string(),
                    CodeBlockKind::Indented => "indented".into(),
                };
                let follows = !std::mem::take(&mut self.has_words);
                self.document.blocks.push(Block { mark, text: String::new(), follows });
            }
            Tag::Heading { .. } | Tag::TableCell => (self.has_words, self.open) = (true, Cell::default()),
            Tag::Paragraph => self.has_words = true,
            Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. } => {
                self.document.links.push(dest_url.to_string());
            }
            Tag::TableHead => (self.in_head, self.of) = (true, None),
            Tag::TableRow => {
                let of = self.of.clone().unwrap_or_default();
                self.document.rows.push(Row { of, cells: Vec::new() });
            }
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::CodeBlock => self.document.blocks.last_mut().unwrap().text = self.read().text,
            TagEnd::Heading(_) => {
                let heading = self.read().text;
                self.document.headings.push(heading);
            }
            TagEnd::TableHead => self.in_head = false,
            TagEnd::TableCell if self.in_head => {
                let cell = self.read();
                self.of.get_or_insert(cell.text);
            }
            TagEnd::TableCell => {
                let cell = self.read();
                self.document.rows.last_mut().unwrap().cells.push(cell);
            }
            _ => {}
        }
    }

    fn read(&mut self) -> Cell {
        std::mem::take(&mut self.open)
    }
}
