//! Writes a configuration as TOML: what is in force, or the example file.
//!
//! In: a [`Config`]. Out: text that reads back as the same configuration, but for masked secrets.
//! Invariant: no secret leaves through here.

use super::{Config, Setting, Table, Visitor};

/// The configuration in force.
pub fn show(config: &Config) -> String {
    written(config, Writer { text: String::new(), margin: "", explained: false })
}

/// Every key with its default and a line on what it means.
pub fn example() -> String {
    let text = EXAMPLE_HEAD.to_owned();
    written(&Config::default(), Writer { text, margin: "", explained: true })
}

fn written(config: &Config, mut writer: Writer) -> String {
    config.clone().visit(&mut writer);
    writer.text
}

struct Writer {
    text: String,
    /// `# ` inside the samples of the example file.
    margin: &'static str,
    explained: bool,
}

impl Writer {
    fn line(&mut self, line: &str) {
        self.text.push_str(self.margin);
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn explain(&mut self, about: &str) {
        if self.explained {
            for line in about.lines() {
                self.line(&format!("# {line}"));
            }
        }
    }

    fn gap(&mut self) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
    }

    fn row<T: Table>(&mut self, name: &str, row: &mut T) {
        self.line(&format!("[[{name}]]"));
        row.visit(self);
    }
}

impl Visitor for Writer {
    fn section(&mut self, name: &'static str, about: &'static str) {
        self.gap();
        self.explain(about);
        self.line(&format!("[{name}]"));
    }

    fn field(&mut self, key: &'static str, about: &'static str, value: &mut dyn Setting) {
        if self.margin.is_empty() {
            self.explain(about);
            self.line(&format!("{key} = {}", value.show()));
        } else {
            self.line(&format!("{key} = {}  # {about}", value.show()));
        }
    }

    fn tables<T: Table>(&mut self, name: &'static str, about: &'static str, rows: &mut Vec<T>) {
        if self.explained {
            self.gap();
            self.explain(about);
            self.margin = "# ";
            self.row(name, &mut T::sample());
            self.margin = "";
        }
        for row in rows {
            self.gap();
            self.row(name, row);
        }
    }
}

const EXAMPLE_HEAD: &str = "\
# Configuration of rowcast. Every key is shown with its default.
# `rowcast config check FILE` explains each error; ROWCAST__SECTION__KEY overrides a key.
# Times need a unit (ms, s, m, h, d); sizes may have one (KiB, MiB, GiB). A *_file key names a file that
# holds the value: beside this file, an absolute path, or a credential of systemd.
";
