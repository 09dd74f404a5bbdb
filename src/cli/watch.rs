//! `rowcast watch`: a table whose changes go out from now on.

use super::database::connect_installed;
use super::{Failure, Settings, print, tell};
use crate::postgres::watches::{Watch, watch, watch_sql};

/// Watch a table: from now on its changes go out
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own on the command line")]
pub struct Args {
    /// As SQL names it: orders, app.orders, '"Odd Name"'
    table: String,

    /// Where changes go, such as orders:{id}, with columns in braces; repeat for several [default:
    /// the table's name]
    #[arg(long = "channel", value_name = "TEMPLATE")]
    channels: Vec<String>,

    /// Column that holds the user who alone gets the row; repeat for several
    #[arg(long = "user", value_name = "COLUMN")]
    users: Vec<String>,

    /// Columns that go out [default: all]
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    columns: Vec<String>,

    /// Columns that do not go out
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    except: Vec<String>,

    /// Which changes [default: all four]
    #[arg(long, value_name = "OP,OP", value_delimiter = ',',
          value_parser = ["insert", "update", "delete", "truncate"])]
    ops: Vec<String>,

    /// Only where this SQL condition on new and old holds
    #[arg(long = "when", value_name = "SQL")]
    condition: Option<String>,

    /// Send the row as it was before, too
    #[arg(long)]
    old: bool,

    /// Send from the writer's transaction without keeping it: cheaper, and nothing to resume from
    #[arg(long)]
    no_log: bool,

    /// Capture once for each statement [default: what fits the table]
    #[arg(long, conflicts_with = "row")]
    statement: bool,

    /// Capture once for each row
    #[arg(long)]
    row: bool,

    /// "poll": writers of this table never NOTIFY, as two-phase commit needs it
    #[arg(long, default_value = "auto", value_parser = ["auto", "poll"])]
    wake: String,

    /// Show the SQL instead; psql runs it as it is
    #[arg(long)]
    print: bool,
}

pub async fn run(args: Args, settings: &Settings) -> Result<(), Failure> {
    let client = connect_installed(settings).await?;
    let show = args.print;
    let wanted = Watch::from(args);
    if show {
        return print(&super::in_transaction(&watch_sql(&client, &wanted).await?));
    }
    tell(&format!("{} is watched", watch(&client, &wanted).await?));
    Ok(())
}

impl From<Args> for Watch {
    fn from(args: Args) -> Self {
        let defaults = Self::of(args.table);
        let users = args.users.iter().map(|column| format!("{{{column}}}")).collect();
        Self {
            channels: given(args.channels),
            users: given(users),
            columns: given(args.columns),
            except: given(args.except),
            ops: given(args.ops).unwrap_or(defaults.ops),
            condition: args.condition,
            old: args.old,
            log: !args.no_log,
            capture: match (args.statement, args.row) {
                (true, _) => "statement",
                (_, true) => "row",
                _ => "auto",
            },
            wake: if args.wake == "poll" { "poll" } else { "auto" },
            table: defaults.table,
        }
    }
}

fn given(list: Vec<String>) -> Option<Vec<String>> {
    if list.is_empty() { None } else { Some(list) }
}

const EXAMPLES: &str = "\
Examples:
  rowcast watch orders --channel orders --channel 'orders:{id}'
  rowcast watch app.messages --user recipient_id --except body_html --ops insert,update
  rowcast watch orders --when 'new.status is distinct from old.status' --ops update --print";
