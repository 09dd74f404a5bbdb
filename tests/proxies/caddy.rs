//! Caddy with `contrib/Caddyfile`.

use std::fs;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use crate::front::{Front, filled, folder};
use crate::tools::{free_address, program};

pub async fn start(nodes: &[SocketAddr]) -> Front {
    let (folder, address) = (folder(), free_address());
    let here = folder.path().display().to_string();
    let nodes: Vec<_> = nodes.iter().map(SocketAddr::to_string).collect();
    let port = address.port();
    let site = format!(
        "\nhttps://localhost:{port} {{\n\tbind 127.0.0.1\n\ttls {here}/front.pem {here}/front.key"
    );
    let text = filled(
        "Caddyfile",
        &[
            // Nothing of this machine but that one port.
            ("\n{\n", "\n{\n\tadmin off\n\tauto_https off\n".to_owned()),
            ("\nlive.example.com {", site),
            ("reverse_proxy 127.0.0.1:4040 {", format!("reverse_proxy {} {{", nodes.join(" "))),
            ("/var/log/caddy/rowcast.log", format!("{here}/access.log")),
        ],
    );
    fs::write(folder.path().join("Caddyfile"), text).unwrap();
    Front::start(folder, address, |folder| {
        let errors = fs::File::create(folder.join("main.log")).unwrap();
        let mut command = Command::new(program("caddy"));
        command.args(["run", "--adapter", "caddyfile", "--config"]).arg(folder.join("Caddyfile"));
        for variable in ["HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"] {
            command.env(variable, folder);
        }
        command.stdout(Stdio::null()).stderr(errors);
        command
    })
}
