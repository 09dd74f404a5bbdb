//! The other servers: where they are found, and how they are set up for what is compared.
//!
//! In: ports and folders. Out: a command that serves, and what its publisher and its subscribers have to say.
//! Invariant: the settings are those of a service that is meant to be fast, and the table names them.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::publisher::Wire;
use crate::Outcome;
use crate::dialect::Dialect;
use crate::frames::{TEXT, masked};

/// What one server is given to run with.
pub struct Place {
    pub root: PathBuf,
    /// Where `benches/peers/install` puts things.
    pub installed: PathBuf,
    /// For what is thrown away.
    pub folder: PathBuf,
    pub port: u16,
    /// For the publisher, where it does not come in by the same.
    pub control: u16,
}

pub struct Peer {
    pub name: &'static str,
    /// What `benches/peers/install` calls it.
    pub package: &'static str,
    pub settings: &'static str,
    /// Where its subscribers connect.
    pub path: &'static str,
    pub dialect: Dialect,
    /// `None` where it is not installed.
    pub command: fn(&Place) -> Option<Command>,
    /// Asked of the program, which is running by then.
    pub version: fn(&Place) -> Outcome<String>,
    pub publisher: fn(&Place, &str) -> Outcome<Wire>,
}

pub const ALL: &[Peer] = &[
    Peer {
        name: "nchan",
        package: "nchan",
        settings: "one worker; websocket subscriber, first message newest; \
                   1,000 messages kept in memory; no access log; published by POST over one connection",
        path: "/subscribe",
        dialect: Dialect::Plain,
        command: nchan,
        version: nchan_version,
        publisher: |place, event| {
            let length = event.len();
            let head = format!("POST /publish HTTP/1.1\r\nhost: bench\r\ncontent-length: {length}");
            Wire::open(place.port, format!("{head}\r\n\r\n{event}").into())
        },
    },
    Peer {
        name: "NATS",
        package: "nats",
        settings: "WebSocket listener without TLS and compression; write deadline 10 s; \
                   published by PUB over one connection, core NATS without JetStream",
        path: "/",
        dialect: Dialect::Nats,
        command: nats,
        version: |place| {
            let version = said(nats_program(place).ok_or("not installed")?.arg("--version"))?;
            Ok(version.trim_start_matches("nats-server: v").to_owned())
        },
        publisher: |place, event| {
            let length = event.len();
            let publish = format!("PUB all {length}\r\n{event}\r\n");
            let mut wire = Wire::open(place.control, publish.into())?;
            wire.say(b"CONNECT {\"verbose\":false,\"pedantic\":false}\r\n")?;
            Ok(wire)
        },
    },
    WS,
    Peer {
        name: "ws, frame made once",
        settings: "the same with Sender.frame() once an event and sendFrame() a client, which is not documented \
                   but what socket.io does",
        command: |place| node(place, "ws", "ws.cjs", &["frame"]),
        ..WS
    },
    Peer {
        name: "socket.io",
        package: "socketio",
        settings: "WebSocket transport only, default engine (ws), per-message deflate off, NODE_ENV=production, \
                   requests discarded as documented; published inside by emit(), on a line of a control port",
        path: "/socket.io/?EIO=4&transport=websocket",
        dialect: Dialect::SocketIo,
        command: |place| node(place, "socket.io", "socketio.cjs", &[]),
        version: |place| node_version(place, "socket.io"),
        publisher: lines,
    },
    Peer {
        name: "uWebSockets",
        package: "uws",
        settings: "through socketify, without compression, on its own event loop and not Python's; \
                   publish() to a topic, on a message of a WebSocket",
        path: "/",
        dialect: Dialect::Plain,
        command: |place| {
            let mut command = python(place)?;
            command.arg(place.root.join("benches/peers/uws.py")).arg(place.port.to_string());
            Some(command)
        },
        version: |place| {
            let ask = "import platform, importlib.metadata as packages\n\
                       print(packages.version('socketify'), 'of socketify, Python', platform.python_version())";
            said(python(place).ok_or("not installed")?.args(["-c", ask]))
        },
        publisher: |place, event| {
            let mut wire = Wire::open(place.port, masked(TEXT, event.as_bytes()))?;
            wire.say(crate::load::upgrade_of_peer("/publish").as_bytes())?;
            Ok(wire)
        },
    },
];

const WS: Peer = Peer {
    name: "ws",
    package: "ws",
    settings: "per-message deflate off, NODE_ENV=production, a loop of send() over its clients as documented; \
               published inside, on a line of a control port",
    path: "/",
    dialect: Dialect::Plain,
    command: |place| node(place, "ws", "ws.cjs", &["send"]),
    version: |place| node_version(place, "ws"),
    publisher: lines,
};

/// The first of these that exists.
fn found(paths: &[PathBuf]) -> Option<PathBuf> {
    paths.iter().find(|path| path.exists()).cloned()
}

fn nginx(place: &Place) -> Option<(Command, PathBuf)> {
    let places = [place.installed.join("nginx"), PathBuf::from("/")];
    let module = |root: &PathBuf| root.join("usr/lib/nginx/modules/ngx_nchan_module.so");
    let program = |root: &PathBuf| root.join("usr/sbin/nginx");
    let root = places.iter().find(|root| module(root).exists() && program(root).exists())?;
    Some((Command::new(program(root)), module(root)))
}

fn nchan(place: &Place) -> Option<Command> {
    let (mut command, module) = nginx(place)?;
    let (folder, port) = (place.folder.display(), place.port);
    let bodies = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("    {name}_temp_path {folder}/nginx-{name};\n"))
        .concat();
    let text = format!(
        "load_module {};
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log warn;
events {{ worker_connections 15000; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
{bodies}
    server {{
        listen 127.0.0.1:{port} backlog=511;
        location = /subscribe {{
            nchan_subscriber websocket;
            nchan_channel_id all;
            nchan_subscriber_first_message newest;
        }}
        location = /publish {{
            nchan_publisher http;
            nchan_channel_id all;
            nchan_message_buffer_length 1000;
            nchan_message_timeout 1m;
        }}
        location = /status {{ nchan_stub_status; }}
    }}
}}
",
        module.display()
    );
    let file = place.folder.join("nginx.conf");
    fs::write(&file, text).ok()?;
    command.arg("-c").arg(file).args(["-e", "stderr"]);
    Some(command)
}

fn nchan_version(place: &Place) -> Outcome<String> {
    let (mut command, _) = nginx(place).ok_or("not installed")?;
    let nginx = said(command.arg("-v"))?;
    let nginx = nginx.trim_start_matches("nginx version: nginx/");
    let mut stream = TcpStream::connect(("127.0.0.1", place.port))?;
    stream.write_all(b"GET /status HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n")?;
    let mut status = String::new();
    stream.read_to_string(&mut status)?;
    let nchan = status.lines().find_map(|line| line.strip_prefix("nchan version: "));
    Ok(format!("{} in nginx {nginx}", nchan.ok_or("nchan does not tell its version")?))
}

fn nats_program(place: &Place) -> Option<Command> {
    let places =
        [place.installed.join("nats/usr/sbin/nats-server"), "/usr/sbin/nats-server".into()];
    Some(Command::new(found(&places)?))
}

fn nats(place: &Place) -> Option<Command> {
    let mut command = nats_program(place)?;
    let (port, control) = (place.port, place.control);
    let text = format!(
        "host: 127.0.0.1
port: {control}
write_deadline: \"10s\"
websocket {{ host: 127.0.0.1, port: {port}, no_tls: true, compression: false }}
"
    );
    let file = place.folder.join("nats.conf");
    fs::write(&file, text).ok()?;
    command.arg("-c").arg(file);
    Some(command)
}

fn node(place: &Place, module: &str, program: &str, more: &[&str]) -> Option<Command> {
    let modules = place.installed.join("node/node_modules");
    if !modules.join(module).exists() {
        return None;
    }
    let mut command = Command::new("node");
    command.env("NODE_PATH", modules).env("NODE_ENV", "production");
    command.arg(place.root.join("benches/peers").join(program));
    command.arg(place.port.to_string()).arg(place.control.to_string()).args(more);
    Some(command)
}

fn node_version(place: &Place, module: &str) -> Outcome<String> {
    let ask =
        format!("require('{module}/package.json').version + ', Node ' + process.versions.node");
    let modules = place.installed.join("node/node_modules");
    said(Command::new("node").env("NODE_PATH", modules).args(["-p", &ask]))
}

fn python(place: &Place) -> Option<Command> {
    let folder = place.installed.join("python");
    let program = found(&[folder.join("bin/python")])?;
    let installed = said(Command::new(&program).args(["-c", "import socketify"])).is_ok();
    installed.then(|| Command::new(program))
}

/// An event is a line on the control port.
fn lines(place: &Place, event: &str) -> Outcome<Wire> {
    Wire::open(place.control, format!("{event}\n").into())
}

/// What a program says on either output, in one line.
fn said(command: &mut Command) -> Outcome<String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).trim().to_owned();
    if output.status.success() { Ok(text) } else { Err(format!("{command:?}: {text}").into()) }
}

pub fn is_installed(peer: &Peer, installed: &Path, run: &crate::Run) -> bool {
    let (root, installed, folder) = (run.root.clone(), installed.to_owned(), run.folder.clone());
    (peer.command)(&Place { root, installed, folder, port: 0, control: 0 }).is_some()
}
