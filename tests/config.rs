//! The configuration: what is read, what wins, and how each mistake is explained.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use jsonwebtoken::Algorithm;
use rowcast::config::{
    AuthKey, ByteSize, Config, Environment, Loaded, LogFormat, Secret, Sources, Wake, example, show,
};
use rowcast::domain::channel::Pattern;
use rowcast::domain::policy::Action;
use rowcast::domain::principal::Principal;
use serde_json::json;
use tempfile::TempDir;

const SECRET: &str = "a secret of more than thirty-two bytes";

/// A folder with a `rowcast.toml` in it, and what the environment and the command line say.
struct Case {
    folder: TempDir,
    sources: Sources,
}

impl Case {
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("rowcast.toml");
        fs::write(&file, text).unwrap();
        let sources = Sources { file: Some(file), ..Sources::default() };
        Self { folder, sources }
    }

    fn file(self, name: &str, bytes: impl AsRef<[u8]>) -> Self {
        let path = self.folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        self
    }

    fn environment(mut self, pairs: &[(&str, &str)]) -> Self {
        self.sources.environment = pairs.iter().copied().collect::<Environment>();
        self
    }

    fn flag(mut self, key: &str, value: &str) -> Self {
        self.sources.flags.push((key.to_owned(), value.to_owned()));
        self
    }

    fn path(&self) -> PathBuf {
        self.sources.file.clone().unwrap()
    }

    #[track_caller]
    fn loaded(&self) -> Loaded {
        self.sources.load().unwrap_or_else(|faults| panic!("{faults}"))
    }

    #[track_caller]
    fn config(&self) -> Config {
        self.loaded().config
    }

    /// Each fault as it is printed, with the folder left out.
    #[track_caller]
    fn faults(&self) -> Vec<String> {
        let faults = self.sources.load().expect_err("a fault should be found");
        let folder = format!("{}/", self.folder.path().display());
        faults.0.iter().map(|fault| fault.to_string().replace(&folder, "")).collect()
    }

    fn warnings(&self) -> Vec<String> {
        let folder = format!("{}/", self.folder.path().display());
        let warnings = self.loaded().warnings;
        warnings.iter().map(|warning| warning.to_string().replace(&folder, "")).collect()
    }
}

#[track_caller]
fn assert_fault(text: &str, expected: &str) {
    let faults = Case::new(text).faults();
    assert!(
        faults.iter().any(|fault| fault.starts_with(expected)),
        "{expected:?} not in {faults:#?}"
    );
}

#[test]
fn every_key_has_its_default_in_the_example_file() {
    let file = include_str!("../config.example.toml");
    let hint = "write it anew: cargo run -- config example > config.example.toml";
    assert_eq!(file, example(), "{hint}");
    assert_eq!(Case::new(file).config(), Config::default());
    assert_eq!(Case::new("").config(), Config::default());
}

#[test]
fn the_samples_of_the_example_file_are_right() {
    let sample = |name: &str| -> String {
        let text = example();
        let lines = text.lines().skip_while(|line| *line != format!("# [[{name}]]"));
        lines.take_while(|line| !line.is_empty()).map(|line| format!("{}\n", &line[2..])).collect()
    };
    let config = Case::new(&sample("policy")).config();
    let staff = Principal {
        user: Some("alice".into()),
        claims: json!({ "org_id": 7, "role": "staff" }).as_object().unwrap().clone(),
        ..Principal::default()
    };
    let pattern = Pattern::parse("orders:7:*").unwrap();
    assert!(config.policies.decide(&staff, &pattern, Action::Broadcast).is_ok());
    assert_fault(&sample("bridge"), "rowcast.toml:1: bridge: is not built yet");
}

#[test]
fn every_kind_of_value_is_read() {
    let config = Case::new(
        r#"
        [database]
        url = "host=db.example user=rowcast"
        pool_size = 0x10
        wake = "poll"
        [server]
        listen = "[::1]:5050"
        private_listen = "127.0.0.1:5051"
        allowed_origins = ["https://app.example.com"]
        [auth]
        leeway = 0
        max_life = "1h30m"
        issuer = "https://issuer.example"
        anonymous = true
        [limits]
        message_bytes = 131072
        queue_bytes_per_connection = "4MiB"
        [telemetry]
        log_format = "json"
        log_filter = "warn,rowcast::hub=debug"
        "#,
    )
    .config();
    assert_eq!(config.database.url.expose(), "host=db.example user=rowcast");
    assert_eq!((config.database.pool_size, config.database.wake), (16, Wake::Poll));
    assert_eq!(config.server.listen.to_string(), "[::1]:5050");
    assert_eq!(config.server.private_listen.unwrap().port(), 5051);
    assert_eq!(config.server.allowed_origins, ["https://app.example.com"]);
    assert_eq!(
        (config.auth.leeway, config.auth.max_life),
        (Duration::ZERO, Duration::from_secs(5_400))
    );
    assert_eq!(config.auth.issuer.as_deref(), Some("https://issuer.example"));
    assert!(config.auth.anonymous);
    assert_eq!(config.limits.message_bytes, ByteSize(131_072));
    assert_eq!(config.limits.queue_bytes_per_connection, ByteSize(4 << 20));
    assert_eq!(config.telemetry.log_format, LogFormat::Json);
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let case = Case::new("[server]\nlisten = \"127.0.0.1:1\"\nprivate_listen = \"127.0.0.1:2\"\n[limits]\nconnections = 3")
        .environment(&[("ROWCAST__SERVER__LISTEN", "127.0.0.1:11"), ("ROWCAST__LIMITS__CONNECTIONS", "13")])
        .flag("server.listen", "127.0.0.1:21");
    let config = case.config();
    assert_eq!(config.server.listen.port(), 21);
    assert_eq!(config.limits.connections, 13);
    assert_eq!(config.server.private_listen.unwrap().port(), 2);
}

#[test]
fn variables_that_others_know_are_understood() {
    let environment =
        [("DATABASE_URL", "postgres://other@host/db"), ("ROWCAST_JWT_SECRET", SECRET)];
    let config =
        Case::new("[database]\nurl = \"postgres://a@b/c\"").environment(&environment).config();
    assert_eq!(config.database.url.expose(), "postgres://other@host/db");
    let Some(AuthKey::Hmac(secret)) = config.auth.key else { panic!("no secret was read") };
    assert_eq!(secret.expose(), SECRET.as_bytes());
    let own = [
        ("DATABASE_URL", "postgres://other@host/db"),
        ("ROWCAST__DATABASE__URL", "postgres://own@host/db"),
    ];
    assert_eq!(
        Case::new("").environment(&own).config().database.url.expose(),
        "postgres://own@host/db"
    );
    let empty = [("DATABASE_URL", ""), ("ROWCAST_JWT_SECRET", "")];
    assert_eq!(Case::new("").environment(&empty).config(), Config::default());
}

#[test]
fn lists_in_a_variable_are_toml_or_joined_by_commas() {
    for text in
        ["https://a.example, https://b.example", r#"["https://a.example", "https://b.example"]"#]
    {
        let config =
            Case::new("").environment(&[("ROWCAST__SERVER__ALLOWED_ORIGINS", text)]).config();
        assert_eq!(config.server.allowed_origins, ["https://a.example", "https://b.example"]);
    }
}

#[test]
fn all_faults_are_reported_at_once_with_line_and_key() {
    let case = Case::new(
        "[server]\nlisten = \"nowhere\"\nlsiten = 1\n\n[limits]\nconnections = 0\n\n[auth]\nleeway = \"5\"\nanonymous = \"yes\"\n",
    )
    .environment(&[("ROWCAST__DATABASE__POOL_SIZE", "many"), ("ROWCAST__DATABASE__POOLSIZE", "1")]);
    assert_eq!(
        case.faults(),
        [
            "rowcast.toml:2: server.listen: must be an address and a port, such as 127.0.0.1:4040 or [::]:4040",
            "rowcast.toml:3: server.lsiten: is unknown; did you mean server.listen?",
            "rowcast.toml:6: limits.connections: must be from 1 to 10000000",
            "rowcast.toml:9: auth.leeway: must be a time with its unit, such as \"30s\", \"5m\" or \"24h\"",
            "rowcast.toml:10: auth.anonymous: must be true or false, not of type string",
            "environment ROWCAST__DATABASE__POOL_SIZE: database.pool_size: must be a whole number",
            "environment ROWCAST__DATABASE__POOLSIZE: database.poolsize: is unknown; did you mean ROWCAST__DATABASE__POOL_SIZE?",
        ]
    );
}

#[test]
fn what_is_out_of_place_is_named_with_what_was_meant() {
    for (text, expected) in [
        ("[servr]\nlisten = \"\"", "rowcast.toml:1: servr: is unknown; did you mean server?"),
        (
            "listen = \"127.0.0.1:1\"",
            "rowcast.toml:1: listen: is unknown; did you mean server.listen?",
        ),
        ("server = 1", "rowcast.toml:1: server: is the name of a table"),
        (
            "[policy]\nchannel = \"a\"",
            "rowcast.toml:1: policy: is the name of a table: write [policy] or [[policy]]",
        ),
        (
            "[[policy]]\nchanel = \"a\"",
            "rowcast.toml:2: policy[1].chanel: is unknown; did you mean policy[1].channel?",
        ),
        ("[[policy]]\nchannel = \"or*\"", "rowcast.toml:2: policy[1].channel: is made of segments"),
        (
            "[[policy]]\n[[policy]]\nchannel = \"a\"\nallow = [\"listen\"]",
            "rowcast.toml:4: policy[2].allow: holds \"listen\"",
        ),
        ("[[policy]]\nallow = []", "rowcast.toml:1: policy[1].channel: has 1 to 200 bytes"),
        ("policy = [1]", "rowcast.toml:1: policy[1]: must be a table"),
        ("[server]\nlisten = \"127.0.0.1:1", "rowcast.toml:2: is no TOML"),
        ("a = 1\na = 2", "rowcast.toml:2: is no TOML: duplicate key"),
        (
            "[auth]\nalgorithms = [\"none\"]",
            "rowcast.toml:2: auth.algorithms: \"none\" is no algorithm",
        ),
        ("[auth]\nalgorithms = []", "rowcast.toml:2: auth.algorithms: must name at least one"),
        (
            "[auth]\nuser_claim = \"a..b\"",
            "rowcast.toml:2: auth.user_claim: must be the name of a claim",
        ),
        (
            "[database]\nurl = \"localhost\"",
            "rowcast.toml:2: database.url: must be a PostgreSQL connection string",
        ),
        (
            "[database]\nwake = \"never\"",
            "rowcast.toml:2: database.wake: must be one of auto, notify, poll",
        ),
        (
            "[limits]\nmessage_bytes = \"64K\"",
            "rowcast.toml:2: limits.message_bytes: must be a size",
        ),
        ("[telemetry]\nlog_filter = \"a=b=c\"", "rowcast.toml:2: telemetry.log_filter:"),
        (
            "[presence]\ntimeout = \"10s\"",
            "rowcast.toml:2: presence.timeout: must be longer than presence.heartbeat",
        ),
        (
            "[server]\nlisten = \"127.0.0.1:1\"\nprivate_listen = \"127.0.0.1:1\"",
            "rowcast.toml:3: server.private_listen: is the address of server.listen",
        ),
    ] {
        assert_fault(text, expected);
    }
}

#[test]
fn a_flag_for_an_unknown_key_is_refused() {
    let faults = Case::new("").flag("server.lisen", "x").faults();
    assert_eq!(faults, ["command line: server.lisen: is unknown; did you mean server.listen?"]);
}

#[test]
fn a_secret_comes_from_a_file_beside_the_configuration_or_a_credential() {
    let text = "[auth]\nsecret_file = \"jwt\"";
    let beside = Case::new(text).file("jwt", format!("{SECRET}\n"));
    let key = beside.config().auth.key.unwrap();
    assert_eq!(format!("{key:?}"), "Hmac(********)");
    let credentials = tempfile::tempdir().unwrap();
    fs::write(credentials.path().join("jwt"), SECRET).unwrap();
    let directory = credentials.path().to_str().unwrap();
    let config = Case::new(text).environment(&[("CREDENTIALS_DIRECTORY", directory)]).config();
    assert_eq!(config.auth.key, Some(key));
}

#[test]
fn a_secret_that_is_missing_short_or_inline_is_refused_without_being_repeated() {
    let text = "[auth]\nsecret_file = \"jwt\"";
    let at = "rowcast.toml:2: auth.secret_file: ";
    let short = Case::new(text).file("jwt", "hunter2-is-too-short\n").faults();
    assert!(
        short[0].starts_with(&format!("{at}the secret has 20 bytes and needs 32")),
        "{short:?}"
    );
    assert!(Case::new(text).faults()[0].starts_with(&format!("{at}the file jwt: cannot be read")));
    let empty = Case::new(text).file("jwt", "\n").faults();
    assert_eq!(empty, [format!("{at}the file jwt: is empty")]);
    let large = Case::new(text).file("jwt", vec![b'x'; 70_000]).faults();
    assert!(large[0].contains("larger than"), "{large:?}");
    let inline = Case::new("[auth]\nsecret = \"hunter2-inline\"").faults();
    assert!(
        inline[0].starts_with("rowcast.toml:2: auth.secret: a secret does not belong"),
        "{inline:?}"
    );
    assert!(!short.concat().contains("hunter2") && !inline.concat().contains("hunter2"));
}

#[test]
fn a_secret_that_everybody_can_read_is_warned_about() {
    let case = Case::new("[auth]\nsecret_file = \"jwt\"").file("jwt", SECRET);
    assert_eq!(case.warnings(), Vec::<String>::new());
    fs::set_permissions(case.folder.path().join("jwt"), fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(case.warnings().len(), 1);
    assert!(case.warnings()[0].contains("can be read by everybody"));
}

#[test]
fn connection_strings_may_stand_in_files_of_their_own() {
    let text = "[database]\nurl_file = \"url\"\nlisten_url_file = \"direct\"";
    let case = Case::new(text).file("url", "postgres://a:pw@b/c\n").file("direct", "host=d\n");
    let config = case.config();
    assert_eq!(config.database.url.expose(), "postgres://a:pw@b/c");
    assert_eq!(config.database.listen_url().expose(), "host=d");
    let both = Case::new("[database]\nurl = \"host=a\"\nurl_file = \"url\"")
        .file("url", "host=b")
        .faults();
    assert_eq!(
        both,
        ["rowcast.toml:3: database.url_file: contradicts database.url: keep one of the two"]
    );
}

#[test]
fn a_connection_string_that_weighs_more_wins_over_a_file_and_the_other_way_round() {
    let case = Case::new("[database]\nurl_file = \"url\"").file("url", "host=file");
    let case = case.environment(&[("DATABASE_URL", "host=environment")]);
    assert_eq!(case.config().database.url.expose(), "host=environment");
    let case = Case::new("[database]\nurl = \"host=text\"").file("url", "host=file");
    let case = case.environment(&[("ROWCAST__DATABASE__URL_FILE", "url")]);
    assert_eq!(case.config().database.url.expose(), "host=file");
}

#[test]
fn algorithms_and_keys_of_different_kinds_contradict_each_other() {
    let secret =
        Case::new("[auth]\nsecret_file = \"jwt\"\nalgorithms = [\"RS256\"]").file("jwt", SECRET);
    assert!(secret.faults()[0].starts_with(
        "rowcast.toml:3: auth.algorithms: RS256 in auth.algorithms does not go with a secret"
    ));
    let public = Case::new("[auth]\npublic_key_file = \"pem\"").file("pem", "x").faults();
    assert!(
        public[0].starts_with("rowcast.toml:2: auth.public_key_file: HS256 in auth.algorithms does not go with a public"),
        "{public:?}"
    );
    let both =
        Case::new("[auth]\nsecret_file = \"jwt\"\npublic_key_file = \"jwt\"").file("jwt", SECRET);
    assert!(both.faults()[0].contains("contradicts auth.secret_file"));
}

/// A configuration with these `[[key]]` tables; `one` and `two` are files with good secrets, `pem` is no secret.
fn keyed(tables: &str) -> Case {
    Case::new(tables).file("one", SECRET).file("two", format!("{SECRET}\n")).file("pem", "public")
}

#[test]
fn further_keys_have_ids_and_algorithms_of_their_own() {
    let case = keyed(
        "[auth]\nsecret_file = \"one\"\n\
         [[key]]\nid = \"2026-07\"\nsecret_file = \"two\"\nalgorithms = [\"HS512\"]\n\
         [[key]]\npublic_key_file = \"pem\"\nalgorithms = [\"ES256\"]\n\
         [[key]]\nsecret_file = \"one\"\n",
    );
    let config = case.config();
    let secret = AuthKey::Hmac(Secret::new(SECRET.as_bytes().to_vec()));
    assert_eq!(config.auth.key.as_ref(), Some(&secret));
    let seen: Vec<_> = config
        .auth
        .further_keys
        .iter()
        .map(|key| (key.table.as_str(), key.id.as_deref(), key.algorithms.as_slice(), &key.key))
        .collect();
    let public = AuthKey::PublicPem(b"public".to_vec());
    assert_eq!(
        seen,
        [
            ("key[1]", Some("2026-07"), &[Algorithm::HS512][..], &secret),
            ("key[2]", None, &[Algorithm::ES256], &public),
            ("key[3]", None, &[Algorithm::HS256], &secret),
        ]
    );
    let shown = show(&config);
    assert!(!shown.contains(SECRET) && !format!("{config:?}").contains(SECRET));
    let shown = Case { sources: case.sources.clone(), folder: case.folder };
    fs::write(shown.path(), show(&config)).unwrap();
    assert_eq!(shown.config(), config);
}

#[test]
fn a_key_that_is_none_or_that_contradicts_another_is_a_fault_of_its_line() {
    let too_many = "[[key]]\nsecret_file = \"one\"\n".repeat(33);
    let short = "[[key]]\nsecret_file = \"short\"\n";
    for (text, expected) in [
        ("[[key]]\nid = \"a\"", "rowcast.toml:1: key[1]: has no key: name a file in secret_file"),
        (
            "[[key]]\nsecret_file = \"one\"\npublic_key_file = \"pem\"",
            "rowcast.toml:3: key[1].public_key_file: contradicts key[1].secret_file",
        ),
        (
            "[[key]]\nid = \"a\"\nsecret_file = \"one\"\n[[key]]\nsecret_file = \"two\"\nid = \"a\"",
            "rowcast.toml:6: key[2].id: is the id of key[1] already",
        ),
        (
            "[[key]]\nid = \"../a\"\nsecret_file = \"one\"",
            "rowcast.toml:2: key[1].id: is made of 1 to 128 letters",
        ),
        (short, "rowcast.toml:2: key[1].secret_file: the secret has 31 bytes and needs 32"),
        (
            "[[key]]\nsecret_file = \"absent\"",
            "rowcast.toml:2: key[1].secret_file: the file absent: cannot be read",
        ),
        (
            "[[key]]\npublic_key_file = \"pem\"\nalgorithms = [\"ES256\", \"HS256\"]",
            "rowcast.toml:3: key[1].algorithms: HS256 in key[1].algorithms does not go with a public",
        ),
        (
            "[[key]]\npublic_key_file = \"pem\"",
            "rowcast.toml:2: key[1].public_key_file: HS256 in key[1].algorithms does not go with a public",
        ),
        (
            "[[key]]\nsecret_file = \"one\"\nalgorithms = [\"RS256\"]",
            "rowcast.toml:3: key[1].algorithms: RS256 in key[1].algorithms does not go with a secret",
        ),
        (
            "[[key]]\nsecret = \"hunter2\"\nsecret_file = \"one\"",
            "rowcast.toml:2: key[1].secret: is unknown; did you mean key[1].secret_file?",
        ),
        (&too_many, "rowcast.toml:65: key[33]: is one of 33 keys, and 32 are the most"),
    ] {
        let faults = keyed(text).file("short", "x".repeat(31)).faults();
        assert!(
            faults.iter().any(|fault| fault.starts_with(expected)),
            "{expected:?} not in {faults:#?}"
        );
        assert!(!faults.concat().contains("hunter2"));
    }
    let most = keyed(&"[[key]]\nsecret_file = \"one\"\n".repeat(32));
    assert_eq!(most.config().auth.further_keys.len(), 32);
    let open = "[server]\nlisten = \"0.0.0.0:4040\"\n[[key]]\nsecret_file = \"one\"";
    assert!(!keyed(open).warnings().concat().contains("no key"));
}

#[test]
fn an_issuer_needs_a_place_that_cannot_be_forged_and_algorithms_of_public_keys() {
    let auth = |lines: &str| format!("[auth]\n{lines}\n");
    let url = "jwks_url = \"https://issuer.example/jwks.json\"";
    let right = Case::new(&auth(&format!("{url}\nalgorithms = [\"RS256\", \"ES256\"]")));
    assert_eq!(right.warnings(), Vec::<String>::new());
    let read = right.config().auth.jwks_url.unwrap();
    assert_eq!(read.to_string(), "https://issuer.example/jwks.json");
    for (text, expected) in [
        (
            auth(url),
            "rowcast.toml:2: auth.jwks_url: auth.jwks_url needs what the issuer signs with",
        ),
        (
            auth(&format!("{url}\nalgorithms = [\"HS512\"]")),
            "rowcast.toml:3: auth.algorithms: auth.jwks_url needs what the issuer signs with",
        ),
        (
            auth(&format!("{url}\nsecret_file = \"one\"\nalgorithms = [\"RS256\"]")),
            "rowcast.toml:4: auth.algorithms: RS256 in auth.algorithms does not go with a secret",
        ),
        (
            auth("jwks_url = \"http://issuer.example/jwks.json\""),
            "rowcast.toml:2: auth.jwks_url: must be https",
        ),
        (auth("jwks_url = \"issuer.example\""), "rowcast.toml:2: auth.jwks_url: must be a URL"),
    ] {
        let faults = keyed(&text).faults();
        assert!(
            faults.iter().any(|fault| fault.starts_with(expected)),
            "{expected:?} not in {faults:#?}"
        );
    }
    let beside = format!("{url}\nalgorithms = [\"RS256\"]\n[[key]]\nsecret_file = \"one\"");
    assert_eq!(keyed(&auth(&beside)).warnings(), Vec::<String>::new());
}

#[test]
fn a_server_that_others_can_reach_needs_a_key() {
    for address in ["0.0.0.0:4040", "[::]:4040", "192.0.2.7:4040"] {
        let text = format!("[server]\nlisten = \"{address}\"\n");
        let faults = Case::new(&text).faults();
        assert!(
            faults[0].starts_with("rowcast.toml:2: server.listen: can be reached from other"),
            "{faults:?}"
        );
        let keyed =
            |text: &str| Case::new(text).environment(&[("ROWCAST_JWT_SECRET", SECRET)]).warnings();
        let warned = keyed(&text);
        assert!(warned[0].contains("the daemon speaks no TLS"), "{warned:?}");
        assert!(warned[1].contains("everybody who reaches server.listen can read /metrics"));
        let behind =
            format!("{text}trusted_proxies = [\"10.0.0.1\"]\nprivate_listen = \"127.0.0.1:4041\"");
        assert_eq!(keyed(&behind), Vec::<String>::new());
        let anonymous = Case::new(&format!("{text}[auth]\nanonymous = true")).warnings();
        assert!(
            anonymous[1].starts_with("rowcast.toml:4: auth.anonymous: no key is set"),
            "{anonymous:?}"
        );
    }
    assert!(Case::new("").warnings()[0].contains("no key is set, so no client can connect"));
}

#[test]
fn a_key_whose_feature_is_missing_is_refused_where_ignoring_it_would_harm() {
    let text = "[cluster]\nredis_url = \"redis://a\"";
    assert_fault(text, "rowcast.toml:2: cluster.redis_url: is not built yet");
    let case = Case::new("[presence]\nheartbeat = \"20s\"\ntimeout = \"1m\"")
        .environment(&[("ROWCAST_JWT_SECRET", SECRET)]);
    assert_eq!(
        case.warnings(),
        ["rowcast.toml:2: presence.heartbeat: is not built yet and has no effect"]
    );
}

#[test]
fn a_proxy_is_an_address_or_a_network() {
    let proxies = |list: &str| format!("[server]\ntrusted_proxies = {list}");
    let config = Case::new(&proxies(r#"["10.0.0.7", "10.1.2.3/8", "fd00::/8", "::1"]"#)).config();
    let shown: Vec<String> =
        config.server.trusted_proxies.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["10.0.0.7/32", "10.0.0.0/8", "fd00::/8", "::1/128"]);
    for bad in ["10.0.0.0/33", "proxy.example", "10.0.0.7:80", "", "10.0.0"] {
        let place = "rowcast.toml:2: server.trusted_proxies: ";
        let fault = format!("{place}{bad:?} is no address and no network");
        assert_fault(&proxies(&format!("[{bad:?}]")), &fault);
    }
    let text = "[server]\nproxy_protocol = true";
    assert_fault(text, "rowcast.toml:2: server.proxy_protocol: needs to know who sends the header");
    let case =
        Case::new(&proxies(r#"["0.0.0.0/0"]"#)).environment(&[("ROWCAST_JWT_SECRET", SECRET)]);
    assert!(case.warnings()[0].contains("server.trusted_proxies: trusts every address"));
}

#[test]
fn a_role_in_a_policy_is_the_claim_that_is_configured() {
    let text = "[auth]\nrole_claim = \"app.role\"\n[[policy]]\nchannel = \"x\"\nallow = [\"subscribe\"]\nwhen = { role = \"staff\" }";
    let config = Case::new(text).config();
    let decide = |claims: serde_json::Value| {
        let claims = claims.as_object().unwrap().clone();
        let principal = Principal { user: Some("a".into()), claims, ..Principal::default() };
        config.policies.decide(&principal, &Pattern::parse("x").unwrap(), Action::Subscribe)
    };
    assert!(decide(json!({ "app": { "role": "staff" } })).is_ok());
    assert!(decide(json!({ "role": "staff" })).is_err());
}

#[test]
fn what_is_shown_reads_back_as_the_same_and_holds_no_secret() {
    let text = "[database]\nurl = \"postgres://a:hunter2@b/c\"\n[auth]\nleeway = \"2s\"\nrole_claim = \"a\\\"b\"\n\
                [[policy]]\nchannel = \"x\"\nallow = [\"subscribe\"]\nwhen = { \"a.b\" = [1, true, \"c\"] }";
    let environment = [("ROWCAST_JWT_SECRET", SECRET)];
    let config = Case::new(text).environment(&environment).config();
    let shown = show(&config);
    assert!(!shown.contains("hunter2") && !shown.contains(SECRET));
    let masked = shown.replace("postgres://a:********@b/c", "postgres://a:hunter2@b/c");
    assert_eq!(Case::new(&masked).environment(&environment).config(), config);
    assert!(!format!("{config:?}").contains("hunter2") && !format!("{config:?}").contains(SECRET));
}

/// The program itself, with nothing in its environment.
fn rowcast(folder: &std::path::Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rowcast"))
        .args(arguments)
        .env_clear()
        .current_dir(folder)
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn config_check_prints_each_fault_and_its_exit_code_tells() {
    let case = Case::new("[server]\nlisten = 1\nallowed_origins = [\"a\"]\n[limts]\n");
    let folder = case.folder.path();
    let wrong = rowcast(folder, &["config", "check", "rowcast.toml"]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(
        stdout(&wrong).starts_with("rowcast.toml:2: server.listen: must be"),
        "{}",
        stdout(&wrong)
    );
    assert!(stdout(&wrong).contains("rowcast.toml:4: limts: is unknown; did you mean limits?"));
    assert!(stderr(&wrong).contains("2 faults"), "{}", stderr(&wrong));

    fs::write(case.path(), "").unwrap();
    let right = rowcast(folder, &["config", "check"]);
    assert_eq!(
        (right.status.code(), stdout(&right).as_str()),
        (Some(0), "rowcast.toml: no faults\n")
    );

    let missing = rowcast(folder, &["config", "check", "absent.toml"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(stdout(&missing).starts_with("absent.toml:1: cannot be read"), "{}", stdout(&missing));
}

#[test]
fn config_check_asks_the_rooms_about_keys_origins_and_connection_strings() {
    let text = "[database]\nurl = \"postgres://a@b/c?sslmod=x\"\n[server]\nallowed_origins = [\"app.example.com\"]\n\
                [auth]\npublic_key_file = \"pem\"\nalgorithms = [\"ES256\"]";
    let case = Case::new(text).file("pem", "no key");
    let output = rowcast(case.folder.path(), &["config", "check"]);
    let text = stdout(&output);
    for expected in [
        "rowcast.toml:2: database.url: the connection string has the parameter \"sslmod\"",
        "rowcast.toml:4: server.allowed_origins: `app.example.com` is no origin",
        "rowcast.toml:6: auth.public_key_file: is no PEM public key",
    ] {
        assert!(text.contains(expected), "{expected:?} not in {text}");
    }
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn config_show_prints_what_is_in_force() {
    let case = Case::new("[limits]\nconnections = 7");
    let output =
        rowcast(case.folder.path(), &["config", "show", "--set", "server.listen=127.0.0.1:9"]);
    let shown: toml::Table = stdout(&output).parse().unwrap();
    assert_eq!(shown["limits"]["connections"].as_integer(), Some(7));
    assert_eq!(shown["server"]["listen"].as_str(), Some("127.0.0.1:9"));
}

#[test]
fn wrong_usage_ends_with_two() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [&["config"][..], &["nonsense"], &["token"], &["config", "show", "--set", "x"]]
    {
        assert_eq!(rowcast(folder.path(), arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn token_prints_a_token_and_nothing_else() {
    let case = Case::new("[auth]\nsecret_file = \"jwt\"").file("jwt", SECRET);
    let arguments =
        ["token", "--user", "alice", "--claim", "org_id=7", "--claim", "name=x y", "--ttl", "1m"];
    let output = rowcast(case.folder.path(), &arguments);
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
    let printed = stdout(&output);
    let token = printed.strip_suffix('\n').unwrap();
    let config = case.config().auth;
    let authenticator = rowcast::auth::Authenticator::new(&config).unwrap();
    let now = std::time::SystemTime::now();
    let principal = authenticator.verify(token, rowcast::auth::Place::Query, now).unwrap();
    assert_eq!(principal.user.as_deref(), Some("alice"));
    assert_eq!(principal.claim("org_id"), Some(&json!(7)));
    assert_eq!(principal.claim("name"), Some(&json!("x y")));
}

#[test]
fn token_without_a_secret_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let output = rowcast(folder.path(), &["token", "--user", "alice"]);
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(1), ""));
    assert!(stderr(&output).contains("ROWCAST_JWT_SECRET"), "{}", stderr(&output));
}
