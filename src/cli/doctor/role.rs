//! Has the daemon's role the rights it needs, and no others?
//!
//! In: what was read of it. Out: checks. Invariant: pure; names come quoted, so a mend can be run as it is.

use super::check::Check;
use super::database::unanswered;
use crate::config::Config;
use crate::postgres::diagnosis::Role;

pub fn judge(role: &Role, missing: &Result<Vec<String>, String>, config: &Config) -> Vec<Check> {
    let pool_size = config.database.pool_size;
    let mut checks = vec![grants(role, missing), limit(role, pool_size)];
    checks.extend([writes(role), tracked(role)]);
    checks.extend(excess(role));
    checks
}

fn grants(role: &Role, missing: &Result<Vec<String>, String>) -> Check {
    const NAME: &str = "grants";
    match missing {
        Err(why) => unanswered(NAME, why),
        Ok(missing) if missing.is_empty() => {
            Check::ok(NAME, format!("{} has the rights it needs", role.name))
        }
        Ok(missing) => Check::failure(
            NAME,
            format!("{} lacks {}", role.name, missing.join(", ")),
            format!("select rowcast.grant_daemon({});", literal(&role.name)),
        ),
    }
}

/// The name of a role as a value: without the quotes of an identifier.
fn literal(identifier: &str) -> String {
    let plain = match identifier.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(quoted) => quoted.replace("\"\"", "\""),
        None => identifier.to_owned(),
    };
    format!("'{}'", plain.replace('\'', "''"))
}

fn limit(role: &Role, pool_size: usize) -> Check {
    const NAME: &str = "connection limit";
    let needed = i64::try_from(pool_size).unwrap_or(i64::MAX).saturating_add(2);
    let too_few = |limit: i32| (0..needed).contains(&i64::from(limit));
    if too_few(role.connection_limit) {
        return Check::failure(
            NAME,
            format!(
                "{} may have {} connections, and a daemon takes up to {needed}",
                role.name, role.connection_limit
            ),
            format!("alter role {} connection limit {};", role.name, needed + SPARE),
        );
    }
    if too_few(role.database_limit) {
        return Check::failure(
            NAME,
            format!(
                "the database takes {} connections, and a daemon up to {needed}",
                role.database_limit
            ),
            format!("alter database {} connection limit -1;", role.database),
        );
    }
    Check::ok(NAME, "none that a daemon would meet")
}

/// Retention and tickets write, through functions.
fn writes(role: &Role) -> Check {
    const NAME: &str = "read-only";
    let Role { name, database, .. } = role;
    if role.is_read_only {
        return Check::failure(
            NAME,
            format!("transactions of {name} begin read-only: no retention, no tickets"),
            format!(
                "alter role {name} in database {database} set default_transaction_read_only = off;"
            ),
        );
    }
    Check::ok(NAME, "transactions may write")
}

/// The listener asks whether the reader's session is at work before it gives the line up.
fn tracked(role: &Role) -> Check {
    const NAME: &str = "tracking";
    let Role { name, database, .. } = role;
    if role.is_tracked {
        return Check::ok(NAME, "track_activities is on");
    }
    Check::failure(
        NAME,
        "track_activities is off: the daemon takes a long read of the log for a dead line",
        format!("alter role {name} in database {database} set track_activities = on;"),
    )
}

/// Whatever gets hold of the daemon has these rights.
fn excess(role: &Role) -> Vec<Check> {
    const NAME: &str = "privileges";
    let name = &role.name;
    if role.is_superuser {
        let answer = format!("{name} is a superuser, and the daemon needs next to nothing");
        let mend = "make a role of its own: create role rowcast login; select rowcast.grant_daemon('rowcast'); and name it in database.url";
        return vec![Check::warning(NAME, answer, mend)];
    }
    let mut checks = Vec::new();
    if !role.attributes.is_empty() {
        let without: Vec<_> = role.attributes.iter().map(|name| format!("no{name}")).collect();
        checks.push(Check::warning(
            NAME,
            format!("{name} has {}", role.attributes.join(", ")),
            format!("alter role {name} {};", without.join(" ")),
        ));
    }
    if role.is_owner {
        checks.push(Check::warning(
            NAME,
            format!("{name} is a member of rowcast_owner: it can forge events"),
            format!("revoke rowcast_owner from {name};"),
        ));
    } else if role.writes_log {
        checks.push(Check::warning(
            NAME,
            format!("{name} may write the log: it can forge events"),
            format!("revoke insert, update, delete, truncate on rowcast.event from {name};"),
        ));
    }
    if role.tables_in_all > 0 {
        checks.push(Check::warning(NAME, tables(role), revoke_tables(role)));
    }
    if checks.is_empty() {
        checks.push(Check::ok(NAME, format!("{name} has none beyond the schema rowcast")));
    }
    checks
}

fn tables(role: &Role) -> String {
    let named = role.tables.join(", ");
    let rest = role.tables_in_all - i64::try_from(role.tables.len()).unwrap_or_default();
    let others = if rest > 0 { format!(" and {rest} more") } else { String::new() };
    format!("{} has rights on {named}{others}, which the daemon never uses", role.name)
}

fn revoke_tables(role: &Role) -> String {
    let tables = role.tables.join(", ");
    if role.are_granted {
        return format!("revoke all on {tables} from {};", role.name);
    }
    format!(
        "{} owns them, or has the rights through PUBLIC or another role: see \\dp and \\du of psql, and make it a role of its own",
        role.name
    )
}

/// For `doctor`, `tail` and whoever looks.
const SPARE: i64 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::check::State;

    fn role() -> Role {
        let (connection_limit, database_limit) = (-1, -1);
        Role { name: "r".to_owned(), connection_limit, database_limit, ..Role::default() }
    }

    #[test]
    fn a_right_that_is_missing_is_granted_by_the_function_that_knows_them() {
        let missing = Ok(vec!["select on rowcast.event".to_owned()]);
        let odd = Role { name: "\"o'd\"\"d\"".to_owned(), ..role() };
        let check = grants(&odd, &missing);
        assert_eq!(check.mend.as_deref(), Some("select rowcast.grant_daemon('o''d\"d');"));
        assert_eq!(grants(&role(), &Ok(Vec::new())).state, State::Ok);
    }

    #[test]
    fn what_goes_beyond_is_told_one_by_one() {
        let count = |role: &Role| excess(role).len();
        assert_eq!(excess(&role())[0].state, State::Ok);
        let attributes = vec!["createdb".to_owned(), "bypassrls".to_owned()];
        let check = &excess(&Role { attributes: attributes.clone(), ..role() })[0];
        assert_eq!(check.mend.as_deref(), Some("alter role r nocreatedb nobypassrls;"));
        let all = Role { attributes, is_owner: true, writes_log: true, tables_in_all: 9, ..role() };
        assert_eq!((count(&all), count(&Role { is_superuser: true, ..all.clone() })), (3, 1));
        assert!(excess(&Role { writes_log: true, ..role() })[0].answer.contains("forge"));
    }

    #[test]
    fn a_limit_below_the_pool_and_its_two_companions_is_too_low() {
        for (connection_limit, state) in [(-1, State::Ok), (9, State::Failure), (10, State::Ok)] {
            assert_eq!(limit(&Role { connection_limit, ..role() }, 8).state, state);
        }
        assert_eq!(limit(&Role { database_limit: 3, ..role() }, 8).state, State::Failure);
    }
}
