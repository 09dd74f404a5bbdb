//! Which of the daemon's rights its role lacks.
//!
//! In: a connection. Out: what is missing. Invariant: the rights are those that `rowcast.grant_daemon` gives, read from
//! its own text, so there is no second list of them.

use tokio_postgres::Client;
use tokio_postgres::types::{ToSql, Type};

use super::schema::functions;
use crate::postgres::error::QueryError;

/// A right, as a grant names it: `select on rowcast.event`.
pub type Missing = String;

pub async fn missing_grants(client: &Client) -> Result<Vec<Missing>, QueryError> {
    let rights = needed();
    let field = |field: fn(&Right) -> String| rights.iter().map(field).collect::<Vec<_>>();
    let whole = field(|right| format!("{} on {}", right.privilege, right.object));
    let names = field(Right::name);
    let arguments = field(|right| right.arguments().unwrap_or_default().to_owned());
    let kinds = field(|right| right.privilege.to_owned());
    let lists = [&whole, &kinds, &names, &arguments];
    let parameters = lists.map(|list| (list as &(dyn ToSql + Sync), Type::TEXT_ARRAY));
    let found = super::rows(client, MISSING, &parameters).await?;
    found.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

#[derive(Debug, PartialEq, Eq)]
struct Right {
    privilege: &'static str,
    /// `rowcast`, `rowcast.event` or `rowcast.maintain(interval, bigint)`.
    object: String,
}

impl Right {
    /// Without the schema and the arguments.
    fn name(&self) -> String {
        let name = self.object.split('(').next().unwrap_or_default();
        name.trim_start_matches("rowcast.").to_owned()
    }

    fn arguments(&self) -> Option<&str> {
        self.object.split_once('(')?.1.strip_suffix(')')
    }
}

fn needed() -> Vec<Right> {
    let functions = functions();
    let daemon = functions.iter().find(|function| function.name == "grant_daemon");
    let body = daemon.map(|function| function.body).unwrap_or_default();
    [
        ("usage", "grant usage on schema "),
        ("select", "grant select on "),
        ("execute", "grant execute on function "),
    ]
    .into_iter()
    .flat_map(|(privilege, start)| {
        let statements = body.split(start).skip(1);
        let lists = statements.filter_map(|rest| rest.split(" to %I").next());
        lists.flat_map(objects).map(move |object| Right { privilege, object })
    })
    .collect()
}

/// Split at the commas that are not between parentheses.
fn objects(list: &str) -> Vec<String> {
    let mut depth = 0;
    let pieces = list.split(|character| {
        depth += i32::from(character == '(') - i32::from(character == ')');
        character == ',' && depth == 0
    });
    pieces.map(|piece| piece.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// By the catalog, because a look-up by name fails without usage of the schema. What is not there cannot be missing a
/// grant.
const MISSING: &str = "\
select needed.whole
  from unnest($1, $2, $3, $4) as needed (whole, kind, name, arguments)
  join pg_namespace n on n.nspname = 'rowcast'
 where case needed.kind
           when 'usage' then not has_schema_privilege(n.oid, 'usage')
           when 'select' then exists (select from pg_class c
                                       where c.relnamespace = n.oid
                                         and c.relname = needed.name
                                         and not has_table_privilege(c.oid, 'select'))
           else exists (select from pg_proc p
                         where p.pronamespace = n.oid
                           and p.proname = needed.name
                           and oidvectortypes(p.proargtypes) = needed.arguments
                           and not has_function_privilege(p.oid, 'execute'))
       end";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rights_are_read_from_the_function_that_grants_them() {
        let needed = needed();
        for (privilege, object) in [
            ("usage", "rowcast"),
            ("select", "rowcast.event"),
            ("select", "rowcast.watches"),
            ("execute", "rowcast.emit(text, text, json, text[])"),
            ("execute", "rowcast._ticket_redeem(bytea)"),
        ] {
            let right = Right { privilege, object: object.to_owned() };
            assert!(needed.contains(&right), "{right:?} in {needed:?}");
        }
        let emit = needed.iter().find(|right| right.name() == "emit").unwrap();
        assert_eq!(emit.arguments(), Some("text, text, json, text[]"));
    }
}
