//! The unit files, as systemd's own tools read them, and as the program needs them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use rowcast::config::Config;

const UNITS: [&str; 3] = ["rowcast.service", "rowcast.socket", "rowcast-private.socket"];

fn unit(name: &str) -> String {
    fs::read_to_string(Path::new("systemd").join(name)).expect("the unit is here")
}

/// The values of a key; a key may come several times.
fn values<'a>(unit: &'a str, key: &str) -> Vec<&'a str> {
    let pairs = unit.lines().filter_map(|line| line.split_once('='));
    pairs.filter(|(name, _)| *name == key).map(|(_, value)| value).collect()
}

fn systemd_analyze(arguments: &[&str]) -> (bool, String) {
    let ran = Command::new("systemd-analyze").args(arguments).env("SYSTEMD_COLORS", "0").output();
    let output = ran.unwrap_or_else(|error| {
        panic!("systemd-analyze does not run ({error}); it comes with the package systemd")
    });
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn the_service_is_exposed_to_next_to_nothing() {
    // In tenths: what is left is what any network service keeps.
    let arguments = ["security", "--offline=yes", "--threshold=12", "--no-pager"];
    let path = "systemd/rowcast.service";
    let (is_below, text) = systemd_analyze(&[&arguments[..], &[path]].concat());
    let verdict = text.lines().last().unwrap_or_default();
    assert!(is_below && verdict.contains("exposure level"), "{text}");
}

#[test]
fn systemd_understands_every_line_of_every_unit() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = |name: &str| folder.path().join(name);
    for name in UNITS {
        // It looks for the program, too.
        let text = unit(name).replace("/usr/bin/rowcast", env!("CARGO_BIN_EXE_rowcast"));
        fs::write(place(name), text).expect("a file");
    }
    let drop_in = place("rowcast.service.d");
    fs::create_dir(&drop_in).expect("a folder");
    fs::copy("systemd/override.example.conf", drop_in.join("override.conf")).expect("a file");
    let paths = UNITS.map(|name| place(name).display().to_string());
    let mut arguments = vec!["verify", "--man=no", "--recursive-errors=no"];
    arguments.extend(paths.iter().map(String::as_str));
    let (is_understood, text) = systemd_analyze(&arguments);
    assert!(is_understood && text.trim().is_empty(), "{text}");
}

#[test]
fn the_units_fit_the_program() {
    let service = unit("rowcast.service");
    let one = |key: &str| match values(&service, key)[..] {
        [value] => value.to_owned(),
        ref other => panic!("{key}: {other:?}"),
    };
    assert_eq!((one("Type").as_str(), one("NotifyAccess").as_str()), ("notify", "main"));
    // A round of reports every 5 s at most feeds this.
    assert_eq!(one("WatchdogSec"), "10s");
    assert_eq!(one("RestartSec"), "100ms");
    let stop = one("TimeoutStopSec").trim_end_matches('s').parse::<u32>().expect("seconds");
    assert!(stop > 10, "the daemon takes up to 10 s");
    let addresses = BTreeMap::from([
        ("rowcast.socket", Some(Config::default().server.listen)),
        ("rowcast-private.socket", None),
    ]);
    for (name, default) in addresses {
        let socket = unit(name);
        let listen = values(&socket, "ListenStream");
        assert_eq!(listen.len(), 1, "{name}: the daemon takes one socket of each kind");
        assert!(default.is_none_or(|default| listen == [default.to_string()]), "{listen:?}");
        assert!(values(&socket, "Accept").is_empty(), "{name}: the daemon accepts");
    }
    assert_eq!(values(&unit("rowcast-private.socket"), "FileDescriptorName"), ["private"]);
    assert_eq!(values(&unit("rowcast-private.socket"), "Service"), ["rowcast.service"]);
    let users = fs::read_to_string("systemd/rowcast.sysusers").expect("it is here");
    assert!(users.lines().any(|line| line.starts_with(&format!("u {} ", one("User")))));
}
