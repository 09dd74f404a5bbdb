//! Can the application's function be asked?
//!
//! In: its name, a connection as the daemon's role. Out: a check. Invariant: it is looked up as the daemon looks it up,
//! and not called.

use super::check::Check;
use super::database::within;
use crate::config::Config;
use crate::postgres::authorize::{AskError, Authorize};
use crate::postgres::connect::Target;
use crate::postgres::diagnosis::Role;

/// None where no function decides.
pub async fn examine(target: &Target, role: &Role, config: &Config) -> Option<Check> {
    let name = config.authorize.function.clone()?;
    let authorize = Authorize::new(target.pool(1), name.clone());
    let mut may_not = None;
    let resolved = within(async {
        authorize.resolve().await.inspect_err(|error| {
            if let AskError::NoRight(found) = error {
                may_not = Some(found.clone());
            }
        })
    });
    let resolved = resolved.await;
    Some(judge(&name, resolved, may_not.as_deref(), &role.name))
}

fn judge(name: &str, resolved: Result<String, String>, may_not: Option<&str>, role: &str) -> Check {
    const NAME: &str = "authorize.function";
    match (resolved, may_not) {
        (Ok(found), _) => Check::ok(NAME, format!("{found} can be asked")),
        (Err(_), Some(found)) => Check::failure(
            NAME,
            format!("{role} may not execute {found}, so nobody may subscribe to what it decides"),
            format!(
                "grant usage on schema {} to {role}; grant execute on function {found}(jsonb, text, text) to {role};",
                schema(found)
            ),
        ),
        (Err(why), None) => Check::failure(
            NAME,
            why,
            format!(
                "create function {name}(claims jsonb, channel text, action text) returns boolean …, or mend authorize.function"
            ),
        ),
    }
}

/// The first part of a quoted name; a dot may stand between quotes.
fn schema(name: &str) -> &str {
    let mut quoted = false;
    let end = name.find(|character| {
        quoted ^= character == '"';
        character == '.' && !quoted
    });
    &name[..end.unwrap_or(name.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grant_names_the_schema_whatever_it_is_called() {
        for (name, found) in [("app.f", "app"), ("\"a.\"\"b\".\"f.g\"", "\"a.\"\"b\"")] {
            assert_eq!(schema(name), found);
        }
        let check = judge("f", Err(String::new()), Some("app.f"), "r");
        assert!(check.mend.is_some_and(|mend| mend.starts_with("grant usage on schema app to r;")));
    }
}
