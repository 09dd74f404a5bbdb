//! Other programs, run to their end: psql, and rowcast as it is shipped.

use std::io::Write;
use std::process::{Command, Stdio};

/// What a program left behind.
#[derive(Debug)]
pub struct Outcome {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// Runs a script from standard input and stops at the first error; answers with what it printed, or its complaint.
pub fn psql(url: &str, script: &str) -> Result<String, String> {
    let outcome = run(psql_command(url).args(["--file", "-"]), script);
    if outcome.code == 0 { Ok(outcome.stdout) } else { Err(outcome.stderr) }
}

/// The same with a file, whose `\ir` start from where it is.
pub fn psql_file(url: &str, path: &str) -> Result<String, String> {
    let outcome = run(psql_command(url).args(["--file", path]), "");
    if outcome.code == 0 { Ok(outcome.stdout) } else { Err(outcome.stderr) }
}

/// The real program, with nothing of our environment that it would read.
pub fn rowcast(url: &str, arguments: &[&str]) -> Outcome {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rowcast"));
    let inherited = std::env::vars_os().map(|(name, _)| name);
    for name in
        inherited.filter(|name| name.to_string_lossy().to_lowercase().starts_with("rowcast_"))
    {
        command.env_remove(name);
    }
    run(command.args(arguments).env("DATABASE_URL", url).current_dir(std::env::temp_dir()), "")
}

fn psql_command(url: &str) -> Command {
    let mut command = Command::new("psql");
    command.args([
        "--no-psqlrc",
        "--quiet",
        "--tuples-only",
        "--no-align",
        "--set=ON_ERROR_STOP=1",
        url,
    ]);
    command
}

fn run(command: &mut Command, input: &str) -> Outcome {
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = match piped {
        Ok(child) => child,
        Err(error) => panic!("{} cannot be run: {error}", command.get_program().display()),
    };
    let mut stdin = child.stdin.take().expect("it is piped");
    let input = input.to_owned();
    // On a thread of its own: a program that prints before it has read all would wait for us, and we for it. One
    // that reads nothing closes its end.
    let writer = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let output = child.wait_with_output().expect("a child can be waited for");
    writer.join().expect("the writer does not panic");
    Outcome {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).expect("programs print UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("programs print UTF-8"),
    }
}
