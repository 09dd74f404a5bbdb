//! What a watch costs a backend in instructions, which hardly differ from one run to the next.
//!
//! A backend alone in a process, as `postgres --single` is, runs under callgrind; what the kernel does is not counted.
//! So this guards the capture functions between releases; what they cost in time is told by `writer`.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use super::Case;
use super::writer::{LEAST, TABLES};
use crate::report::Figure;
use crate::rig::{Rig, body};
use crate::server::{Server, run as call};
use crate::{Outcome, Run};

pub const CASE: Case = Case {
    name: "capture",
    goal: "",
    about: "instructions that a watch adds to a write; needs valgrind",
    run,
};

fn run(run: &Run) -> Outcome<Vec<Figure>> {
    call(Command::new("valgrind").arg("--version"))
        .map_err(|error| format!("this case needs valgrind: {error}"))?;
    let mut rig = Rig::new(run)?;
    for sql in [TABLES, LEAST, BY_ROW, FIRST_ROWS] {
        rig.db.run(sql)?;
    }
    rig.daemon.end();
    rig.server.stop_in_order()?;
    let mut figures = Vec::new();
    for write in WRITES {
        let each = |table| count(&rig.server, write, table, run.or(1, 3));
        let plain = each("plain")?;
        for (table, how, last) in write.watched {
            let label = format!("instructions of {}, {how}, above no trigger", write.what);
            let figure = Figure::new(label, each(table)? - plain, "");
            figures.push(match last {
                Some(last) => figure.at_most(last * TOLERANCE),
                None => figure,
            });
        }
    }
    Ok(figures)
}

/// A write to any of the tables, and those in which it is counted.
struct Write {
    what: &'static str,
    sql: &'static str,
    rows: u32,
    /// How often it is done: the difference of the two is counted, so that starting and ending is not.
    times: (u32, u32),
    /// Each with how it is captured, and what that took when it was last found good.
    watched: &'static [(&'static str, &'static str, Option<f64>)],
}

const WRITES: &[Write] = &[
    Write {
        what: "an insert of one row",
        sql: "insert into TABLE (body) values ('BODY')",
        rows: 1,
        times: (150, 400),
        watched: &[
            ("watched", "watched by statement", Some(173_000.0)),
            ("by_row", "watched by row", Some(173_000.0)),
            ("bare", "with the least trigger that logs", None),
        ],
    },
    Write {
        what: "an update of one row",
        sql: "update TABLE set body = md5(random()::text) where id = 1",
        rows: 1,
        times: (150, 400),
        watched: &[
            ("watched", "watched by statement", Some(201_000.0)),
            ("by_row", "watched by row", Some(194_000.0)),
        ],
    },
    Write {
        what: "a row of 1,000 inserted",
        sql: "insert into TABLE (body) select 'BODY' from generate_series(1, 1000)",
        rows: 1000,
        times: (3, 9),
        watched: &[
            ("watched", "watched by statement", Some(37_000.0)),
            ("bare", "with the least trigger that logs", None),
        ],
    },
];

/// Of a row of this write.
fn count(server: &Server, write: &Write, table: &str, hurry: u32) -> Outcome<f64> {
    let sql = write.sql.replace("TABLE", table).replace("BODY", &body(256));
    let (few, many) = (write.times.0 / hurry, write.times.1 / hurry);
    let more = total(server, &sql, many)? - total(server, &sql, few)?;
    Ok(more / f64::from((many - few) * write.rows))
}

/// Of a backend that is started, says this so often, and ends.
fn total(server: &Server, sql: &str, times: u32) -> Outcome<f64> {
    let mut lines = String::new();
    for _ in 0..times {
        writeln!(lines, "{sql}")?;
    }
    let counts = server.folder.join("counts");
    let said =
        server.alone(&["valgrind", "--tool=callgrind", "--callgrind-out-file=counts"], &lines)?;
    if let Some(fault) =
        said.lines().find(|line| line.contains("ERROR") || line.contains("WARNING"))
    {
        return Err(format!("{sql}: {fault}").into());
    }
    let dump = fs::read_to_string(&counts)?;
    fs::remove_file(&counts)?;
    let total = dump.lines().find_map(|line| line.strip_prefix("totals: "));
    Ok(total.ok_or("callgrind wrote no count")?.trim().parse()?)
}

const FIRST_ROWS: &str = "\
insert into plain (body) values ('');
insert into watched (body) values ('');
insert into by_row (body) values ('');
";

const BY_ROW: &str = "\
create table by_row (like item including all);
select rowcast.watch('by_row', capture => 'row');
";

/// What a change may add without a word; more is to be explained, or taken in here.
const TOLERANCE: f64 = 1.1;
