//! `rowcast man`: the manual, made of the same definitions as the help.

use std::path::PathBuf;

use super::{Failure, print, tell};

/// Print the manual page, or write those of all commands into a folder
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Where rowcast.1, rowcast-serve.1 and so on are written; it is made if it is missing
    folder: Option<PathBuf>,
}

pub fn run(args: &Args, command: clap::Command) -> Result<(), Failure> {
    match &args.folder {
        Some(folder) => {
            std::fs::create_dir_all(folder)?;
            clap_mangen::generate_to(command, folder)?;
            tell(&format!("wrote the pages to {}", folder.display()));
            Ok(())
        }
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(command).render(&mut page)?;
            print(&String::from_utf8_lossy(&page))
        }
    }
}

const EXAMPLES: &str = "\
Examples:
  rowcast man | man -l -
  rowcast man /usr/local/share/man/man1";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_with_its_examples() {
        let folder = tempfile::tempdir().unwrap();
        let args = Args { folder: Some(folder.path().join("man1")) };
        run(&args, crate::cli::command()).unwrap();
        let page = |name: &str| {
            let path = folder.path().join("man1").join(format!("rowcast{name}.1"));
            std::fs::read_to_string(path).unwrap_or_else(|error| panic!("rowcast{name}.1: {error}"))
        };
        assert!(page("").contains("Live updates for applications on PostgreSQL"));
        assert!(page("-config-check").contains("/etc/rowcast/config.toml"));
        for command in crate::cli::command().get_subcommands() {
            let name = command.get_name();
            assert!(page(&format!("-{name}")).contains("Example"), "{name}");
        }
    }
}
