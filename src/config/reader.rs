//! Fills a configuration from the file, then the environment, then the command line.
//!
//! In: a parsed [`Document`] and the [`Sources`]. Out: [`Findings`]: what is wrong, and where each value
//! came from. Invariant: every value that was given is either taken by a key or reported.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::environment::variable;
use super::fault::nearest;
use super::setting::Given;
use super::{Fault, Faults, Place, Setting, Sources, Table, Visitor};

/// A TOML file whose values know their lines.
pub(super) struct Document<'a> {
    path: PathBuf,
    text: &'a str,
    root: DeTable<'a>,
}

impl<'a> Document<'a> {
    /// What could be read, and a fault for each place that could not.
    pub fn parse(path: Option<&Path>, text: &'a str) -> (Self, Vec<Fault>) {
        let (root, errors) = DeTable::parse_recoverable(text);
        let path = path.map(Path::to_owned).unwrap_or_default();
        let document = Self { path, text, root: root.into_inner() };
        let fault = |error: &toml::de::Error| Fault {
            place: document.place(error.span().map_or(0, |span| span.start)),
            key: String::new(),
            message: format!("is no TOML: {}", error.message()),
        };
        let faults = errors.iter().map(fault).collect();
        (document, faults)
    }

    fn place(&self, offset: usize) -> Place {
        let before = self.text.get(..offset).unwrap_or(self.text);
        Place::File { path: self.path.clone(), line: 1 + before.matches('\n').count() }
    }
}

/// What came up while reading and checking.
#[derive(Clone, Debug, Default)]
pub(super) struct Findings {
    places: BTreeMap<String, Place>,
    faults: Vec<Fault>,
    warnings: Vec<Fault>,
}

impl Findings {
    pub fn fault(&mut self, key: &str, message: impl Into<String>) {
        let fault = self.at(key, message.into());
        self.faults.push(fault);
    }

    pub fn warn(&mut self, key: &str, message: impl Into<String>) {
        let warning = self.at(key, message.into());
        self.warnings.push(warning);
    }

    /// How much the value of this key counts; `None` where nobody gave one.
    pub fn weight(&self, key: &str) -> Option<u8> {
        self.places.get(key).map(|place| match place {
            Place::Default => 0,
            Place::File { .. } => 1,
            Place::Environment(_) => 2,
            Place::Flag => 3,
        })
    }

    pub fn at(&self, key: &str, message: String) -> Fault {
        let table = key.rsplit_once('.').map_or(key, |(table, _)| table);
        let place = self.places.get(key).or_else(|| self.places.get(table));
        Fault { place: place.cloned().unwrap_or_default(), key: key.to_owned(), message }
    }

    /// The warnings, where there is no fault.
    pub fn verdict(&self) -> Result<Vec<Fault>, Faults> {
        let in_file_order = |faults: &[Fault]| {
            let mut faults = faults.to_vec();
            faults.sort_by_key(|fault| match fault.place {
                Place::File { line, .. } => line,
                _ => usize::MAX,
            });
            faults
        };
        match self.faults.as_slice() {
            [] => Ok(in_file_order(&self.warnings)),
            faults => Err(Faults(in_file_order(faults))),
        }
    }
}

pub(super) struct Reader<'a> {
    document: &'a Document<'a>,
    sources: &'a Sources,
    /// The table that is being filled: its path, and what the file has in it.
    table: (String, Option<&'a DeTable<'a>>),
    known: BTreeSet<String>,
    findings: Findings,
}

impl<'a> Reader<'a> {
    pub fn new(document: &'a Document<'a>, sources: &'a Sources, syntax: Vec<Fault>) -> Self {
        let findings = Findings { faults: syntax, ..Findings::default() };
        let table = (String::new(), None);
        Self { document, sources, table, known: BTreeSet::new(), findings }
    }

    /// Reports what was given and is no key.
    pub fn finish(mut self) -> Findings {
        self.report_unknown(&self.document.root, "");
        let sources = self.sources;
        for (name, key) in sources.environment.keys() {
            self.report_unless_known(&key, Place::Environment(name.to_owned()), variable);
        }
        for (key, _) in &sources.flags {
            self.report_unless_known(key, Place::Flag, str::to_owned);
        }
        self.findings
    }

    fn report_unknown(&mut self, table: &'a DeTable<'a>, path: &str) {
        for (name, value) in table {
            let key = join(path, name.get_ref());
            let place = self.document.place(name.span().start);
            match value.get_ref() {
                _ if self.known.contains(&key) => {}
                DeValue::Table(inner) if self.is_section(&key) => self.report_unknown(inner, &key),
                // Rows are reported where they are read, with their number.
                DeValue::Array(_) if self.known.contains(&format!("{key}[]")) => {}
                _ => self.report_unless_known(&key, place, str::to_owned),
            }
        }
    }

    fn is_section(&self, path: &str) -> bool {
        let prefix = format!("{path}.");
        self.known.iter().any(|key| key.starts_with(&prefix))
    }

    fn report_unless_known(&mut self, key: &str, place: Place, spell: fn(&str) -> String) {
        if self.known.contains(key) {
            return;
        }
        let sections = self.known.iter().filter_map(|key| key.split(['.', '[']).next());
        let table = key.rsplit_once('.').map_or(key, |(table, _)| table);
        let in_reach = |known: &&str| !known.contains('[') || known.starts_with(table);
        let whole = self.known.iter().map(String::as_str).filter(in_reach);
        let guess = if key.contains('.') {
            nearest(key, whole)
        } else {
            nearest(key, sections).or_else(|| whole_key_of(key, &self.known))
        };
        let message = match (key, guess) {
            ("auth.secret", _) => SECRET_INLINE.to_owned(),
            (key, Some(guess)) if key == guess => {
                format!("is the name of a table: write [{key}] or [[{key}]] as in the example file")
            }
            (_, Some(guess)) => format!("is unknown; did you mean {}?", spell(guess)),
            (_, None) => "is unknown; `rowcast config show` lists all keys".to_owned(),
        };
        self.findings.faults.push(Fault { place, key: key.to_owned(), message });
    }

    fn take(&mut self, key: &str, place: Place, given: Given<'_>, value: &mut dyn Setting) {
        match value.set(given) {
            Ok(()) => {
                self.findings.places.insert(key.to_owned(), place);
            }
            Err(message) => {
                self.findings.faults.push(Fault { place, key: key.to_owned(), message });
            }
        }
    }

    fn read_row<T: Table>(&mut self, path: &str, value: &'a Spanned<DeValue<'a>>) -> T {
        let mut row = T::default();
        let place = self.document.place(value.span().start);
        let table = value.get_ref().as_table();
        self.findings.places.insert(path.to_owned(), place);
        self.table = (path.to_owned(), table);
        row.visit(self);
        if let Some(table) = table {
            self.report_unknown(table, path);
        } else {
            self.findings.fault(path, "must be a table");
        }
        row
    }
}

impl Visitor for Reader<'_> {
    fn section(&mut self, name: &'static str, _about: &'static str) {
        let table = self.document.root.get(name).and_then(|value| value.get_ref().as_table());
        self.table = (name.to_owned(), table);
    }

    /// A value that is overruled is still checked, so that no fault waits for the day it counts.
    fn field(&mut self, key: &'static str, _about: &'static str, value: &mut dyn Setting) {
        let path = join(&self.table.0, key);
        self.known.insert(path.clone());
        let document = self.document;
        if let Some((name, found)) = self.table.1.and_then(|table| table.get_key_value(key)) {
            let place = document.place(name.span().start);
            self.take(&path, place, Given::Toml(found.get_ref()), value);
        }
        let sources = self.sources;
        if let Some((name, text)) = sources.environment.of_key(&path) {
            self.take(&path, Place::Environment(name), Given::Text(text), value);
        }
        for (_, text) in sources.flags.iter().filter(|(key, _)| *key == path) {
            self.take(&path, Place::Flag, Given::Text(text), value);
        }
    }

    fn tables<T: Table>(&mut self, name: &'static str, _about: &'static str, rows: &mut Vec<T>) {
        self.known.insert(format!("{name}[]"));
        let Some((key, value)) = self.document.root.get_key_value(name) else { return };
        self.findings.places.insert(name.to_owned(), self.document.place(key.span().start));
        let array = value.get_ref().as_array();
        for (index, value) in array.into_iter().flat_map(|array| array.iter()).enumerate() {
            rows.push(self.read_row(&format!("{name}[{}]", index + 1), value));
        }
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// A key that stands alone at the top usually lost its table.
fn whole_key_of<'k>(key: &str, known: &'k BTreeSet<String>) -> Option<&'k str> {
    known.iter().map(String::as_str).find(|path| {
        !path.contains('[') && path.rsplit_once('.').is_some_and(|(_, last)| last == key)
    })
}

const SECRET_INLINE: &str = "a secret does not belong in this file: put it into a file of its own and \
                             name that in auth.secret_file, or set ROWCAST_JWT_SECRET";
