//! nginx with `contrib/nginx.conf`.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;

use crate::front::{Front, filled, folder};
use crate::tools::{free_address, program};

pub async fn start(nodes: &[SocketAddr]) -> Front {
    let (folder, address) = (folder(), free_address());
    let here = folder.path().display().to_string();
    let node = |node| format!("server {node} max_fails=1 fail_timeout=5s;");
    let nodes: Vec<_> = nodes.iter().map(node).collect();
    let site = filled(
        "nginx.conf",
        &[
            ("server 127.0.0.1:4040 max_fails=1 fail_timeout=5s;", nodes.join("\n")),
            ("listen 443 ssl;", format!("listen {address} ssl;")),
            ("server_name live.example.com;", "server_name localhost;".to_owned()),
            ("/etc/ssl/certs/live.example.com.pem", format!("{here}/front.pem")),
            ("/etc/ssl/private/live.example.com.key", format!("{here}/front.key")),
            ("/var/log/nginx/rowcast.log", format!("{here}/access.log")),
            ("/var/log/nginx/rowcast-error.log", format!("{here}/error.log")),
        ],
    );
    fs::write(folder.path().join("site.conf"), site).unwrap();
    fs::write(folder.path().join("nginx.conf"), main(&here)).unwrap();
    Front::start(folder, address, |folder| {
        let mut command = Command::new(program("nginx"));
        command.args(["-c", "nginx.conf", "-e", "main.log", "-p"]).arg(folder);
        command
    })
}

/// What a distribution's own `nginx.conf` has around the site, for a user without rights.
fn main(here: &str) -> String {
    let folders = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {here}/{name};\n"))
        .concat();
    // As root, its workers would be nobody, who cannot write into our folder.
    let user = if rustix::process::getuid().is_root() { "user root root;" } else { "" };
    format!(
        "daemon off;\n{user}\npid {here}/pid;\nworker_processes 2;\n\
         events {{ worker_connections 256; }}\nhttp {{\n{folders}include {here}/site.conf;\n}}\n"
    )
}
