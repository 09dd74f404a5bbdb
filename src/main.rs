//! The program: parse the command line, run one command, turn its end into an exit code.

fn main() -> std::process::ExitCode {
    rowcast::cli::main()
}
