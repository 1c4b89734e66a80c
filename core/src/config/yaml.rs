//! YAML 1.2 text to a tree whose every node knows its place.
//!
//! The parser's events are held to bounds before anything is built: a policy file is trusted to be meant well, not
//! to be small.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, StrInput, Tag};

use super::report::Position;
use super::tree::{Defect, Entry, Node, Scalar, Value};

/// Bytes of a policy file.
pub(super) const TEXT_BYTES_MAX: usize = 16 << 20;
/// Nodes of a policy file, those that aliases repeat included.
pub(super) const NODES_MAX: usize = 1_000_000;
/// Mappings and sequences within one another.
pub(super) const DEPTH_MAX: usize = 64;

/// The tree of the only document in `text`.
///
/// Keys that occur twice are added to `defects` and the first of them is kept; everything else that is wrong ends
/// the parse.
pub(super) fn parse(text: &str, defects: &mut Vec<Defect>) -> Result<Node, Defect> {
    let start = Position { line: 1, column: 1 };
    if text.len() > TEXT_BYTES_MAX {
        let message = format!("the file is larger than {TEXT_BYTES_MAX} bytes");
        return Err(Defect { position: start, message });
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder =
        Builder { text, events: Parser::new_from_str(text), anchors: HashMap::new(), nodes: 0, defects };
    builder.document()
}

impl Node {
    fn size(&self) -> usize {
        1 + match &self.value {
            Value::Scalar(_) => 0,
            Value::Sequence(items) => items.iter().map(Node::size).sum(),
            Value::Mapping(entries) => entries.iter().map(|entry| entry.node.size()).sum(),
        }
    }

    fn depth(&self) -> usize {
        match &self.value {
            Value::Scalar(_) => 0,
            Value::Sequence(items) => 1 + items.iter().map(Node::depth).max().unwrap_or(0),
            Value::Mapping(entries) => 1 + entries.iter().map(|entry| entry.node.depth()).max().unwrap_or(0),
        }
    }
}

struct Builder<'a, 'd> {
    text: &'a str,
    events: Parser<'a, StrInput<'a>>,
    /// Complete anchored nodes; an alias inside its own anchor finds none.
    anchors: HashMap<usize, Node>,
    nodes: usize,
    defects: &'d mut Vec<Defect>,
}

impl<'a> Builder<'a, '_> {
    fn document(&mut self) -> Result<Node, Defect> {
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => break,
                Event::DocumentStart(_) if root.is_some() => {
                    return Err(defect(span, "a policy file is one document; remove this `---`"));
                }
                Event::DocumentStart(_) => {
                    let (event, span) = self.next()?;
                    root = Some(self.node(event, span, 0)?);
                }
                _ => {}
            }
        }
        Ok(root.unwrap_or(Node::null(Position { line: 1, column: 1 })))
    }

    fn next(&mut self) -> Result<(Event<'a>, Span), Defect> {
        match self.events.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => {
                let position = position(error.marker().line(), error.marker().col());
                let hint = self.hint(position);
                Err(Defect { position, message: format!("not valid YAML: {}{hint}", error.info()) })
            }
            // The stream's end is an event of its own, so only a defect of the parser ends up here.
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    /// A brace ends a plain scalar within braces and brackets, variables or not.
    fn hint(&self, position: Position) -> &'static str {
        let line = self.text.lines().nth(position.line as usize - 1).unwrap_or_default();
        let before: String = line.chars().take(position.column as usize).collect();
        match before.contains("${") {
            true => {
                "; within `{ }` and `[ ]` write `\"${NAME}\"` in quotes, or give the value a line of its own"
            }
            false => "",
        }
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node, Defect> {
        self.count(1, span)?;
        if depth > DEPTH_MAX {
            return Err(defect(span, format!("nested deeper than {DEPTH_MAX} levels")));
        }
        let (value, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let quoted = style != ScalarStyle::Plain || tagged_string(tag.as_deref(), span)?;
                (Value::Scalar(Scalar::new(text.into_owned(), quoted)), anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                tagged_string(tag.as_deref(), span)?;
                (Value::Sequence(self.sequence(depth)?), anchor)
            }
            Event::MappingStart(anchor, tag) => {
                tagged_string(tag.as_deref(), span)?;
                (Value::Mapping(self.mapping(depth)?), anchor)
            }
            Event::Alias(anchor) => return self.alias(anchor, span, depth),
            _ => (Value::Scalar(Scalar::plain(String::new())), 0),
        };
        let node = Node { position: start_of(span), value, hidden: false };
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn alias(&mut self, anchor: usize, span: Span, depth: usize) -> Result<Node, Defect> {
        let Some(node) = self.anchors.get(&anchor) else {
            return Err(defect(span, "an alias within its own anchor has no end"));
        };
        let (node, size) = (node.clone(), node.size());
        if depth + node.depth() > DEPTH_MAX {
            return Err(defect(span, format!("nested deeper than {DEPTH_MAX} levels")));
        }
        self.count(size, span)?;
        Ok(node)
    }

    fn sequence(&mut self, depth: usize) -> Result<Vec<Node>, Defect> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(items),
                (event, span) => items.push(self.node(event, span, depth + 1)?),
            }
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Vec<Entry>, Defect> {
        let mut entries = Vec::<Entry>::new();
        let mut lines = HashMap::<String, u32>::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::MappingEnd) {
                return Ok(entries);
            }
            let key = match self.node(event, span, depth + 1)?.value {
                Value::Scalar(key) => key.into_text(),
                _ => return Err(defect(span, "a key is a plain text")),
            };
            let position = start_of(span);
            let (event, span) = self.next()?;
            let node = self.node(event, span, depth + 1)?;
            match lines.get(&key) {
                Some(line) => self.defects.push(Defect {
                    position,
                    message: format!("`{key}` is already set in line {line}; keep one of the two"),
                }),
                None => {
                    lines.insert(key.clone(), position.line);
                    entries.push(Entry { key, position, node });
                }
            }
        }
    }

    fn count(&mut self, nodes: usize, span: Span) -> Result<(), Defect> {
        self.nodes = self.nodes.saturating_add(nodes);
        match self.nodes <= NODES_MAX {
            true => Ok(()),
            false => Err(defect(span, format!("more than {NODES_MAX} values, aliases expanded"))),
        }
    }
}

/// Whether a tag makes a string of a scalar. The other tags of the core schema only repeat what is resolved anyway.
fn tagged_string(tag: Option<&Tag>, span: Span) -> Result<bool, Defect> {
    match tag {
        None => Ok(false),
        Some(tag) if tag.handle.is_empty() && tag.suffix == "!" => Ok(true),
        Some(tag) if tag.is_yaml_core_schema() => Ok(tag.suffix == "str"),
        Some(_) => Err(defect(span, "tags of an application have no meaning here; remove it")),
    }
}

fn defect(span: Span, message: impl Into<String>) -> Defect {
    Defect { position: start_of(span), message: message.into() }
}

fn start_of(span: Span) -> Position {
    position(span.start.line(), span.start.col())
}

fn position(line: usize, column_from_zero: usize) -> Position {
    let bounded = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Position { line: bounded(line.max(1)), column: bounded(column_from_zero + 1) }
}

#[cfg(test)]
mod tests;
