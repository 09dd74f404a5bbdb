//! Encryption: each sslmode demands of the server what libpq's does.

use std::fs;
use std::path::Path;
use std::process::Command;

use rowcast::postgres::connect::Target;
use rowcast::postgres::scratch::{ScratchCluster, ScratchOptions};
use tempfile::TempDir;

use crate::harness::{cluster, options, psql};

use Seen::{Encrypted, Plain, Refused};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Plain,
    Encrypted,
    Refused,
}

#[tokio::test]
async fn each_mode_demands_what_libpq_demands() {
    let authority = Authority::new();
    let server = authority.server(&authority.issue("server", "subjectAltName=DNS:localhost")).await;
    let stranger = Authority::named("stranger");
    let none = String::new();
    let (right, wrong) = (authority.as_root(), stranger.as_root());
    // A host that the certificate names, and one that it does not.
    let (named, other) = ("localhost", "elsewhere.test");
    for (mode, roots, host, expected) in [
        ("disable", &none, named, Plain),
        ("disable", &wrong, other, Plain),
        ("allow", &none, other, Plain),
        ("prefer", &none, other, Encrypted),
        ("prefer", &right, other, Encrypted),
        // As with libpq, whose "prefer" gives up encryption rather than the connection.
        ("prefer", &wrong, named, Plain),
        ("require", &none, other, Encrypted),
        ("require", &right, other, Encrypted),
        ("require", &wrong, named, Refused),
        ("verify-ca", &right, named, Encrypted),
        ("verify-ca", &right, other, Encrypted),
        ("verify-ca", &wrong, named, Refused),
        ("verify-ca", &wrong, other, Refused),
        ("verify-full", &right, named, Encrypted),
        ("verify-full", &right, other, Refused),
        ("verify-full", &wrong, named, Refused),
    ] {
        let seen = seen(&server, &format!("host={host} sslmode={mode} {roots}")).await;
        assert_eq!(seen, expected, "sslmode={mode} {roots} to {host}");
    }
    server.stop().await;
}

#[tokio::test]
async fn pg_hba_decides_whether_to_try_again_with_or_without_encryption() {
    let authority = Authority::new();
    let mut certificate = authority.issue("server", "subjectAltName=DNS:localhost");
    let hba = "local all all trust\n\
               hostssl all only_encrypted 127.0.0.1/32 trust\n\
               hostnossl all only_plain 127.0.0.1/32 trust\n";
    certificate.push(("pg_hba.conf".into(), hba.into()));
    let server = authority.server(&certificate).await;
    let admin = Target::parse(&server.url("postgres")).unwrap().connect_spawned().await.unwrap();
    admin
        .batch_execute("create role only_encrypted login; create role only_plain login")
        .await
        .unwrap();
    for (mode, user, expected) in [
        ("allow", "only_encrypted", Encrypted),
        ("allow", "only_plain", Plain),
        ("prefer", "only_encrypted", Encrypted),
        ("prefer", "only_plain", Plain),
        ("disable", "only_encrypted", Refused),
        ("require", "only_plain", Refused),
    ] {
        let seen = seen(&server, &format!("host=localhost sslmode={mode} user={user}")).await;
        assert_eq!(seen, expected, "sslmode={mode} as {user}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_server_without_encryption_gets_none_or_no_connection() {
    let authority = Authority::new();
    let roots = authority.as_root();
    for (parameters, expected) in [
        ("sslmode=prefer".to_owned(), Plain),
        ("sslmode=allow".to_owned(), Plain),
        ("sslmode=require".to_owned(), Refused),
        (format!("sslmode=verify-ca {roots}"), Refused),
        (format!("sslmode=verify-full {roots}"), Refused),
    ] {
        assert_eq!(seen(cluster().await, &format!("host=localhost {parameters}")).await, expected);
    }
}

#[tokio::test]
async fn a_self_signed_server_certificate_may_be_its_own_root() {
    let server_and_root = Authority::named("localhost");
    let key = fs::read_to_string(server_and_root.path("ca.key")).unwrap();
    let certificate = fs::read_to_string(server_and_root.path("ca.crt")).unwrap();
    let files = vec![("server.key".into(), key), ("server.crt".into(), certificate)];
    let server = server_and_root.server(&files).await;
    let namesake = Authority::named("localhost");
    let (right, wrong) = (server_and_root.as_root(), namesake.as_root());
    for (mode, roots, host, expected) in [
        ("verify-full", &right, "localhost", Encrypted),
        ("verify-full", &right, "elsewhere.test", Refused),
        ("verify-ca", &right, "elsewhere.test", Encrypted),
        ("verify-ca", &wrong, "localhost", Refused),
    ] {
        let seen = seen(&server, &format!("host={host} sslmode={mode} {roots}")).await;
        assert_eq!(seen, expected, "sslmode={mode} to {host}");
    }
    server.stop().await;
}

#[tokio::test]
async fn an_expired_certificate_is_refused_by_those_who_look() {
    let authority = Authority::new();
    let server = authority
        .server(&authority.issue_for_days("server", "subjectAltName=DNS:localhost", -1))
        .await;
    let roots = authority.as_root();
    assert_eq!(seen(&server, &format!("host=localhost sslmode=verify-ca {roots}")).await, Refused);
    assert_eq!(seen(&server, "host=localhost sslmode=require").await, Encrypted);
    server.stop().await;
}

#[tokio::test]
async fn a_refused_certificate_says_what_to_mend() {
    let authority = Authority::new();
    let server = authority.server(&authority.issue("server", "subjectAltName=DNS:localhost")).await;
    let stranger = Authority::named("stranger");
    let namesake = Authority::named("authority");
    let (right, wrong) = (authority.as_root(), stranger.as_root());
    for (parameters, said) in [
        (format!("host=localhost sslmode=verify-full {wrong}"), "sslrootcert must name"),
        (
            format!("host=localhost sslmode=verify-full {}", namesake.as_root()),
            "sslrootcert must name",
        ),
        (format!("host=elsewhere.test sslmode=verify-full {right}"), "subjectAltName"),
    ] {
        let error = target(&server, &parameters).connect().await.err().unwrap();
        assert_eq!(error.kind(), rowcast::postgres::error::Kind::Misconfigured);
        assert!(error.to_string().contains(said), "{error}");
    }
    server.stop().await;
}

#[test]
fn demands_that_cannot_be_met_are_refused_before_connecting() {
    let folder = TempDir::new().unwrap();
    let empty = folder.path().join("empty.pem");
    fs::write(&empty, "").unwrap();
    for (parameters, said) in [
        ("sslmode=verify-full".to_owned(), "need sslrootcert"),
        ("sslmode=verify-ca".to_owned(), "need sslrootcert"),
        ("sslmode=require sslrootcert=system".to_owned(), "verify-full only"),
        ("sslmode=verify-full sslrootcert=/nowhere.pem".to_owned(), "/nowhere.pem cannot be read"),
        (format!("sslmode=verify-full sslrootcert={}", empty.display()), "has no certificate"),
    ] {
        let error = Target::parse(&format!("host=localhost {parameters}")).unwrap_err().to_string();
        assert!(error.contains(said), "{parameters}: {error}");
    }
}

/// What we do, which must be what libpq does.
async fn seen(server: &ScratchCluster, parameters: &str) -> Seen {
    let ours = match target(server, parameters).connect_spawned().await {
        Ok(client) if client.query_one(IS_ENCRYPTED, &[]).await.unwrap().get(0) => Encrypted,
        Ok(_) => Plain,
        Err(_) => Refused,
    };
    assert_eq!(ours, seen_by_psql(server, parameters), "unlike psql: {parameters}");
    ours
}

fn seen_by_psql(server: &ScratchCluster, parameters: &str) -> Seen {
    match psql(&connection_string(server, parameters), IS_ENCRYPTED).as_deref() {
        Ok("t\n") => Encrypted,
        Ok("f\n") => Plain,
        Ok(other) => panic!("{other}"),
        Err(_) => Refused,
    }
}

fn target(server: &ScratchCluster, parameters: &str) -> Target {
    Target::parse(&connection_string(server, parameters)).unwrap()
}

/// The name is the parameters' affair; the address is this machine in any case.
fn connection_string(server: &ScratchCluster, parameters: &str) -> String {
    let port = server.port();
    format!("user=postgres dbname=postgres hostaddr=127.0.0.1 port={port} {parameters}")
}

/// Who signs certificates.
pub struct Authority {
    folder: TempDir,
}

impl Authority {
    pub fn new() -> Self {
        Self::named("authority")
    }

    fn named(name: &str) -> Self {
        let authority = Self { folder: TempDir::new().unwrap() };
        let (subject, san) = (format!("/CN={name}"), format!("subjectAltName=DNS:{name}"));
        authority.openssl(&[
            "req -x509 -nodes -days 2 -keyout ca.key -out ca.crt",
            NEW_KEY,
            "-addext",
            &san,
            "-subj",
            &subject,
        ]);
        authority
    }

    pub fn issue(&self, name: &str, extensions: &str) -> Vec<(String, String)> {
        self.issue_for_days(name, extensions, 2)
    }

    /// A key and a certificate, named as PostgreSQL looks for them.
    fn issue_for_days(&self, name: &str, extensions: &str, days: i32) -> Vec<(String, String)> {
        fs::write(self.path("extensions"), extensions).unwrap();
        let request =
            format!("req -new -nodes -keyout {name}.key -out {name}.csr -subj /CN=server");
        self.openssl(&[&request, NEW_KEY]);
        let sign = format!(
            "x509 -req -in {name}.csr -out {name}.crt -days {days} -CA ca.crt -CAkey ca.key -CAcreateserial -extfile extensions"
        );
        self.openssl(&[&sign]);
        let read = |end: &str| fs::read_to_string(self.path(&format!("{name}.{end}"))).unwrap();
        vec![("server.key".into(), read("key")), ("server.crt".into(), read("crt"))]
    }

    async fn server(&self, files: &[(String, String)]) -> ScratchCluster {
        let mut options = ScratchOptions { files: files.to_vec(), ..options() };
        options.settings.push(("ssl".into(), "on".into()));
        ScratchCluster::start(options).await.unwrap()
    }

    fn as_root(&self) -> String {
        format!("sslrootcert={}", self.path("ca.crt"))
    }

    pub fn path(&self, name: &str) -> String {
        Path::join(self.folder.path(), name).display().to_string()
    }

    fn openssl(&self, arguments: &[&str]) {
        let mut command = Command::new("openssl");
        command.current_dir(self.folder.path());
        let output =
            command.args(arguments.iter().flat_map(|words| words.split(' '))).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

const IS_ENCRYPTED: &str = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";
const NEW_KEY: &str = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1";
