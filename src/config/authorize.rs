//! `[authorize]`: a function in the database that has the last word on a channel.

use std::time::Duration;

use super::Visitor;
use super::bounded::Time;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorizeConfig {
    pub function: Option<String>,
    pub cache: Duration,
}

impl AuthorizeConfig {
    pub(super) fn visit(&mut self, visitor: &mut impl Visitor) {
        visitor.section("authorize", "A function in the database that has the last word.");
        visitor.field("function", FUNCTION, &mut self.function);
        let cache = &mut Time(&mut self.cache, Duration::ZERO..=Duration::from_secs(3_600));
        visitor.field("cache", CACHE, cache);
    }
}

impl Default for AuthorizeConfig {
    fn default() -> Self {
        Self { function: None, cache: Duration::from_secs(30) }
    }
}

const FUNCTION: &str =
    "Such as \"app.may_listen\": f(claims jsonb, channel text, action text) returns boolean.";
const CACHE: &str = "How long an answer is kept; forgotten at once on NOTIFY rowcast_authorize.";
