//! What is agreed about the source, held as tests: layers, door signs, panics, SQL, links.

use std::fs;
use std::path::{Path, PathBuf};

/// What each room may import, from the ground up: the picture in `src/lib.rs`, exactly.
const ROOMS: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("protocol", &["domain"]),
    ("config", &["domain"]),
    ("telemetry", &["domain", "config"]),
    ("lifecycle", &["domain", "config", "telemetry"]),
    ("auth", &["domain", "protocol", "config", "telemetry", "lifecycle"]),
    ("postgres", &["domain", "protocol", "config", "telemetry", "lifecycle"]),
    ("access", &["domain", "protocol", "postgres", "config", "telemetry", "lifecycle"]),
    ("admission", &["domain", "protocol", "auth", "postgres", "config", "telemetry", "lifecycle"]),
    ("hub", &["domain", "protocol", "access", "config", "telemetry", "lifecycle"]),
    ("history", &["domain", "postgres", "hub", "config", "telemetry", "lifecycle"]),
    (
        "ingest",
        &[
            "domain",
            "protocol",
            "postgres",
            "access",
            "admission",
            "hub",
            "history",
            "config",
            "telemetry",
            "lifecycle",
        ],
    ),
    ("retention", &["postgres", "config", "telemetry", "lifecycle"]),
    (
        "session",
        &[
            "domain",
            "protocol",
            "auth",
            "access",
            "admission",
            "hub",
            "config",
            "telemetry",
            "lifecycle",
        ],
    ),
    (
        "transport",
        &[
            "domain",
            "protocol",
            "auth",
            "admission",
            "hub",
            "session",
            "config",
            "telemetry",
            "lifecycle",
        ],
    ),
    ("app", EVERYTHING),
    ("cli", EVERYTHING),
];

/// Composition knows all rooms; nobody below may know it, but `cli` starts `app`.
const EVERYTHING: &[&str] = &[
    "domain",
    "protocol",
    "config",
    "telemetry",
    "lifecycle",
    "auth",
    "postgres",
    "access",
    "admission",
    "hub",
    "ingest",
    "history",
    "retention",
    "session",
    "transport",
    "app",
];

/// What may be named in some rooms only, and where.
const KEPT_IN: &[(&str, &[&str])] = &[
    ("warp::", &["transport"]),
    (
        "tokio",
        &[
            "auth",
            "postgres",
            "access",
            "admission",
            "hub",
            "ingest",
            "history",
            "retention",
            "session",
            "transport",
            "app",
            "cli",
            "lifecycle",
            // The name of a crate that is kept quiet.
            "telemetry",
        ],
    ),
];

/// What a pure room may not name: time arrives as an argument.
const CLOCKS: &[&str] = &["SystemTime::now", "Instant::now"];
const PURE: &[&str] = &["domain", "protocol"];

struct Source {
    path: PathBuf,
    room: String,
    /// Without comments and tests.
    lines: Vec<(usize, String)>,
    text: String,
}

fn sources() -> Vec<Source> {
    let files = files(Path::new("src"), "rs");
    let texts: Vec<_> =
        files.into_iter().map(|path| (fs::read_to_string(&path).unwrap(), path)).collect();
    let tests: Vec<PathBuf> =
        texts.iter().flat_map(|(text, path)| test_files(text, path)).collect();
    let is_test = |path: &Path| {
        tests.iter().any(|test| path.starts_with(test.with_extension("")) || path == test)
    };
    let sources = texts.into_iter().filter(|(_, path)| !is_test(path)).map(|(text, path)| Source {
        room: room(&path),
        lines: code(&text),
        path,
        text,
    });
    let sources: Vec<_> = sources.collect();
    assert!(sources.len() > 20, "the source was not found");
    sources
}

/// The files of `#[cfg(test)] mod name;`.
fn test_files(text: &str, path: &Path) -> Vec<PathBuf> {
    let folder = match path.file_stem().and_then(|stem| stem.to_str()) {
        Some("mod" | "lib" | "main") | None => path.parent().unwrap().to_owned(),
        Some(_) => path.with_extension(""),
    };
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let name = |pair: &[&str]| {
        let name = declared(pair[1]).strip_prefix("mod ")?.strip_suffix(';')?;
        (pair[0] == "#[cfg(test)]").then(|| folder.join(name).with_extension("rs"))
    };
    lines.windows(2).filter_map(name).collect()
}

/// A declaration without its visibility.
fn declared(line: &str) -> &str {
    match line.strip_prefix("pub") {
        Some(rest) => rest.split_once(' ').map_or(line, |(_, declared)| declared),
        None => line,
    }
}

/// `src/hub/shard.rs` and `src/hub.rs` belong to `hub`.
fn room(path: &Path) -> String {
    let inside = path.strip_prefix("src").unwrap();
    let first = inside.components().next().unwrap().as_os_str().to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

/// The numbered lines that run in service: tests stand last in a file.
fn code(text: &str) -> Vec<(usize, String)> {
    let lines: Vec<&str> = text.lines().collect();
    let is_tests = |index: &usize| {
        lines[*index].trim() == "#[cfg(test)]"
            && lines
                .get(index + 1)
                .is_some_and(|next| declared(next).starts_with("mod ") && next.ends_with('{'))
    };
    let end = (0..lines.len()).find(is_tests).unwrap_or(lines.len());
    let without_comment = |line: &str| {
        let is_comment = line.trim_start().starts_with("//");
        let code = line.split(" // ").next().filter(|_| !is_comment);
        code.unwrap_or_default().to_owned()
    };
    (1..).zip(lines[..end].iter().map(|line| without_comment(line))).collect()
}

fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut found = Vec::new();
    for path in entries.map(|entry| entry.unwrap().path()) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir()
            && !["target", "node_modules"].contains(&name.as_str())
            && !name.starts_with('.')
        {
            found.extend(files(&path, ending));
        } else if path.extension().is_some_and(|extension| extension == ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

#[track_caller]
fn nothing_found(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

/// The rooms that a file names after `crate::`, also in a group.
fn imports(source: &Source) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let code: String = source.lines.iter().map(|(_, line)| format!("{line}\n")).collect();
    for (at, _) in code.match_indices("crate::") {
        let line = code[..at].matches('\n').count() + 1;
        let rest = &code[at + "crate::".len()..];
        for name in first_names(rest) {
            found.push((line, name));
        }
    }
    found
}

/// `hub::Hub` names hub; `{hub::{A, B}, session}` names hub and session.
fn first_names(text: &str) -> Vec<String> {
    let word = |text: &str| -> String {
        text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    let Some(group) = text.strip_prefix('{') else { return vec![word(text)] };
    let (mut depth, mut names, mut from) = (0, Vec::new(), 0);
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                names.push(word(group[from..at].trim()));
                from = at + 1;
                if character == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

#[test]
fn a_room_imports_from_the_rooms_below_it_only() {
    let mut faults = Vec::new();
    for source in sources().iter().filter(|source| !["lib", "main"].contains(&source.room.as_str()))
    {
        let path = source.path.display();
        let Some((_, allowed)) = ROOMS.iter().find(|(room, _)| *room == source.room) else {
            faults.push(format!("{path}: {} is no room; give it a line in the table", source.room));
            continue;
        };
        for (line, name) in imports(source) {
            let known = ROOMS.iter().any(|(room, _)| *room == name);
            if known && name != source.room && !allowed.contains(&name.as_str()) {
                faults.push(format!("{path}:{line}: {} may not import {name}", source.room));
            }
        }
    }
    nothing_found(&faults);
}

#[test]
fn an_import_is_seen_in_every_form() {
    assert_eq!(first_names("hub::Hub;"), ["hub"]);
    assert_eq!(first_names("{hub::{A, b::{C}}, session, app::x};"), ["hub", "session", "app"]);
    assert_eq!(first_names("{\n    hub,\n    session,\n};"), ["hub", "session"]);
}

#[test]
fn libraries_of_one_room_and_clocks_stay_where_they_belong() {
    let mut faults = Vec::new();
    for source in sources().iter().filter(|source| !["lib", "main"].contains(&source.room.as_str()))
    {
        let room = source.room.as_str();
        let kept =
            KEPT_IN.iter().filter(|(_, rooms)| !rooms.contains(&room)).map(|(name, _)| *name);
        let clocks = CLOCKS.iter().copied().filter(|_| PURE.contains(&room));
        let forbidden: Vec<&str> = kept.chain(clocks).collect();
        for (line, text) in &source.lines {
            for name in forbidden.iter().filter(|name| text.contains(**name)) {
                faults
                    .push(format!("{}:{line}: {room} may not name {name}", source.path.display()));
            }
        }
    }
    nothing_found(&faults);
}

#[test]
fn every_module_has_a_sign_on_its_door() {
    let unsigned = files(Path::new("src"), "rs")
        .into_iter()
        .filter(|path| !fs::read_to_string(path).unwrap().starts_with("//! "))
        .map(|path| format!("{}: begins without //!", path.display()));
    nothing_found(&unsigned.collect::<Vec<_>>());
}

#[test]
fn nothing_in_service_unwraps_prints_or_is_left_to_do() {
    let words = [
        ".unwrap()",
        ".expect(\"\")",
        "todo!(",
        "unimplemented!(",
        "dbg!(",
        "println!(",
        "print!(",
    ];
    let mut faults = Vec::new();
    for source in &sources() {
        for (line, text) in &source.lines {
            for word in words.iter().filter(|word| text.contains(**word)) {
                faults.push(format!("{}:{line}: {word}", source.path.display()));
            }
        }
    }
    nothing_found(&faults);
}

#[test]
fn no_room_is_called_by_a_name_that_says_nothing() {
    let vague = ["util", "utils", "common", "helpers", "misc"];
    let faults = sources().into_iter().filter_map(|source| {
        let stem = source.path.file_stem().unwrap().to_string_lossy().into_owned();
        let is_getter = source.text.contains("pub fn get_");
        (vague.contains(&stem.as_str()) || is_getter).then(|| source.path.display().to_string())
    });
    nothing_found(&faults.collect::<Vec<_>>());
}

/// Values reach dynamic SQL through `format` with %I and %L, or `using`.
#[test]
fn no_dynamic_sql_is_glued_together() {
    let mut faults = Vec::new();
    let scripts = [files(Path::new("sql"), "sql"), files(Path::new("triggers"), "sql")].concat();
    assert!(!scripts.is_empty(), "the SQL was not found");
    for path in scripts {
        let text = fs::read_to_string(&path).unwrap();
        for statement in glued(&text) {
            faults.push(format!("{}: {statement}", path.display()));
        }
    }
    nothing_found(&faults);
}

/// The `execute` statements with `||` in them.
fn glued(text: &str) -> Vec<String> {
    let plain: Vec<&str> =
        text.lines().map(|line| line.split("--").next().unwrap_or_default()).collect();
    let text = plain.join("\n").to_lowercase();
    let starts = text.match_indices("execute").filter(|(at, _)| {
        let before = text[..*at].chars().next_back();
        let after = text[at + "execute".len()..].chars().next();
        before.is_none_or(char::is_whitespace) && after.is_some_and(char::is_whitespace)
    });
    let statement =
        |(at, _): (usize, &str)| text[at..].split(';').next().unwrap_or_default().to_owned();
    starts.map(statement).filter(|statement| statement.contains("||")).collect()
}

#[test]
fn glued_sql_is_found_and_formatted_sql_is_not() {
    assert_eq!(glued("  EXECUTE 'drop table '\n || name;").len(), 1);
    assert_eq!(glued("execute format('drop table %I', name); -- a || b\nx := a || b;").len(), 0);
    assert_eq!(glued("execute function rowcast.capture(); select a || b;").len(), 0);
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut faults = Vec::new();
    for path in files(Path::new("."), "md") {
        let text = fs::read_to_string(&path).unwrap();
        for target in links(&text) {
            let file = target.split('#').next().unwrap_or_default();
            let outside = target.contains("://") || target.starts_with("mailto:");
            if !outside && !file.is_empty() && !path.parent().unwrap().join(file).exists() {
                faults.push(format!("{}: {target} leads nowhere", path.display()));
            }
        }
    }
    nothing_found(&faults);
}

/// The targets of `[text](target)`, outside of code blocks.
fn links(text: &str) -> Vec<&str> {
    let prose = text.split("```").step_by(2);
    let targets = prose.flat_map(|prose| prose.split("](").skip(1));
    targets.filter_map(|rest| rest.split([')', ' ', '\n']).next()).collect()
}

#[test]
fn links_are_found_in_prose_and_not_in_code() {
    let text = "[a](b.md) and [c](d.md#e \"t\")\n```\n[x](y.md)\n```\n[f](https://g)";
    assert_eq!(links(text), ["b.md", "d.md#e", "https://g"]);
}
