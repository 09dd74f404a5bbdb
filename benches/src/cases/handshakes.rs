//! Ten thousand clients that connect, show a token and have their welcome.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::Case;
use super::memory::CLIENTS;
use crate::load::Load;
use crate::report::Figure;
use crate::rig::{Rig, median};
use crate::server::run as execute;
use crate::{Outcome, Run};

pub const CASE: Case =
    Case { name: "handshakes", goal: "P9", about: "CPU of 10,000 upgrades with a token", run };

fn run(run: &Run) -> Outcome<Vec<Figure>> {
    let mut rig = Rig::new(run)?;
    let rounds = run.or(5, 2);
    let hs256 = rig.tokens()?;
    let symmetric = rounds_of(&rig, &hs256, rounds)?;
    let key = Key::new(&run.folder)?;
    rig.program.public_key = Some(key.public());
    rig.restart()?;
    let rs256 =
        (0..8).map(|number| key.token(&format!("user{number}"))).collect::<Outcome<Vec<_>>>()?;
    let asymmetric = rounds_of(&rig, &rs256, rounds)?;
    Ok(vec![
        Figure::new("CPU of 10,000 handshakes, tokens with RS256", asymmetric, "s").at_most(1.0),
        Figure::new("the same with HS256", symmetric, "s"),
    ])
}

fn rounds_of(rig: &Rig, tokens: &[String], rounds: u64) -> Outcome<f64> {
    let mut seconds = Vec::new();
    for _ in 0..rounds {
        let (mut load, before) = (Load::new()?, rig.cpu()?);
        load.connect(CLIENTS, rig.daemon.address, tokens)?;
        seconds.push(rig.cpu()?.saturating_sub(before).as_secs_f64());
    }
    Ok(median(seconds))
}

/// A key of 2048 bits, made and used by the openssl program.
struct Key(PathBuf);

impl Key {
    fn new(folder: &Path) -> Outcome<Self> {
        let key = Self(folder.join("key.pem"));
        let mut generate = Command::new("openssl");
        generate.args([
            "genpkey",
            "-quiet",
            "-algorithm",
            "RSA",
            "-pkeyopt",
            "rsa_keygen_bits:2048",
            "-out",
        ]);
        execute(generate.arg(&key.0))?;
        execute(
            Command::new("openssl")
                .args(["pkey", "-pubout", "-in"])
                .arg(&key.0)
                .arg("-out")
                .arg(key.public()),
        )?;
        Ok(key)
    }

    fn public(&self) -> PathBuf {
        self.0.with_extension("pub")
    }

    fn token(&self, user: &str) -> Outcome<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let claims = format!(r#"{{"sub":"{user}","iat":{now},"exp":{}}}"#, now + 8 * 3600);
        let signed = [r#"{"alg":"RS256","typ":"JWT"}"#, &claims]
            .map(|part| URL_SAFE_NO_PAD.encode(part))
            .join(".");
        let (text, signature) = (self.0.with_extension("txt"), self.0.with_extension("sig"));
        std::fs::write(&text, &signed)?;
        let mut sign = Command::new("openssl");
        sign.args(["dgst", "-sha256", "-sign"]).arg(&self.0).arg("-out").arg(&signature).arg(&text);
        execute(&mut sign)?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(std::fs::read(signature)?)))
    }
}
