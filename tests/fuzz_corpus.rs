//! Replays what the fuzzers have found worth keeping, with the ordinary compiler.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

#[path = "../fuzz/bodies/client_frames.rs"]
mod client_frames;
#[path = "../fuzz/bodies/config.rs"]
mod config;
#[path = "../fuzz/bodies/credential.rs"]
mod credential;
#[path = "../fuzz/bodies/event_id.rs"]
mod event_id;
#[path = "../fuzz/bodies/notify_payload.rs"]
mod notify_payload;
#[path = "../fuzz/bodies/request_head.rs"]
mod request_head;

type Body = fn(&[u8]);

const TARGETS: [(&str, Body); 6] = [
    ("client_frames", client_frames::run),
    ("config", config::run),
    ("credential", credential::run),
    ("event_id", event_id::run),
    ("notify_payload", notify_payload::run),
    ("request_head", request_head::run),
];

fn fuzz(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(path)
}

fn names(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { panic!("{} is missing", folder.display()) };
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn every_file_of_the_corpus_is_taken_without_harm() {
    for (name, run) in TARGETS {
        let files = names(&fuzz(&format!("corpus/{name}")));
        assert!(files.len() >= 5, "{name} has {} files", files.len());
        for file in files {
            eprintln!("{}", file.display());
            run(&std::fs::read(file).unwrap());
        }
    }
}

#[test]
fn every_target_is_replayed_and_explained() {
    let known: BTreeSet<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let stem = |path: PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
    let targets: BTreeSet<_> = names(&fuzz("fuzz_targets")).into_iter().map(stem).collect();
    assert_eq!(targets, known);
    let readme = std::fs::read_to_string(fuzz("README.md")).unwrap();
    for name in known {
        assert!(
            readme.contains(&format!("| `{name}` |")),
            "fuzz/README.md does not explain {name}"
        );
    }
}
