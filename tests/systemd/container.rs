//! The Dockerfile, as far as it can be judged where no container can be built: what it copies is there and is enough,
//! and it builds what `./quickstart` builds.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn dockerfile() -> Vec<String> {
    let text = fs::read_to_string("Dockerfile").expect("it is here");
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
}

/// What is copied from the source, and where to.
fn copies() -> Vec<(String, String)> {
    let mut copies = Vec::new();
    for line in dockerfile() {
        let Some(files) = line.strip_prefix("COPY ").filter(|rest| !rest.starts_with("--from"))
        else {
            continue;
        };
        let words: Vec<&str> = files.split(' ').collect();
        let (target, sources) = words.split_last().expect("COPY names files");
        copies.extend(sources.iter().map(|source| ((*source).to_owned(), (*target).to_owned())));
    }
    assert!(copies.len() > 3, "the COPY lines were not found");
    copies
}

fn copy(from: &Path, to: &Path) {
    if !from.is_dir() {
        fs::copy(from, to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
        return;
    }
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        copy(&entry.path(), &to.join(entry.file_name()));
    }
}

#[test]
fn what_the_container_copies_is_there_and_is_all_that_cargo_asks_for() {
    let folder = tempfile::tempdir().expect("a folder");
    for (source, target) in copies() {
        assert!(Path::new(&source).exists(), "COPY {source}: it is not there");
        let target = match target.as_str() {
            "./" => folder.path().join(&source),
            target if target.starts_with('/') => continue,
            target => folder.path().join(target),
        };
        copy(Path::new(&source), &target);
    }
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--locked", "--offline", "--no-deps", "--format-version=1"]);
    let output = cargo.current_dir(folder.path()).output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for file in included() {
        assert!(folder.path().join(&file).exists(), "the program includes {}", file.display());
    }
}

/// The files and folders that are compiled into the program.
fn included() -> Vec<PathBuf> {
    let mut found = vec![PathBuf::from("sql")];
    let mut folders = vec![PathBuf::from("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).expect("source is text");
            for piece in text.split("include_str!(\"").skip(1) {
                found.push(folder.join(piece.split('"').next().expect("a path")));
            }
        }
    }
    assert!(found.len() > 3, "{found:?}");
    found
}

#[test]
fn the_published_source_holds_all_that_is_compiled_in() {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["package", "--list", "--locked", "--offline", "--allow-dirty"]);
    let output = cargo.output().expect("cargo runs");
    let listed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for file in included() {
        let file = fs::canonicalize(file).expect("it is here");
        let here = fs::canonicalize(".").expect("it is here");
        let name = file.strip_prefix(here).expect("it is below").display().to_string();
        let holds = |line: &str| line == name || line.starts_with(&format!("{name}/"));
        assert!(listed.lines().any(holds), "{name}");
    }
}

#[test]
fn the_container_builds_what_quickstart_builds_and_runs_it_as_nobody() {
    let quickstart = fs::read_to_string("quickstart").expect("it is here");
    let build = quickstart.lines().find(|line| line.starts_with("cargo build")).expect("a build");
    let lines = dockerfile();
    let has = |line: &str| lines.iter().any(|other| other == line);
    assert!(has(&format!("RUN {build}")), "{build}");
    let last = lines.iter().rposition(|line| line.starts_with("FROM ")).expect("a stage");
    let stage = &lines[last..];
    assert!(stage[0].contains("distroless") && stage[0].ends_with(":nonroot"), "{}", stage[0]);
    assert!(stage.iter().any(|line| line == "USER nonroot"));
    assert!(!lines.iter().any(|line| line.starts_with("HEALTHCHECK")), "nothing there could ask");
    let manifest = fs::read_to_string("Cargo.toml").expect("it is here");
    assert!(manifest.contains("rust-version"), "rust:1 in the Dockerfile is newer than that");
}
