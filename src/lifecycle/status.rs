//! How the daemon is, in one line for a person.
//!
//! In: [`Health`] and [`Vitals`]. Out: what `systemctl status` shows. Invariant: one line, of bounded length, without
//! anything secret.

use std::time::Duration;

use super::Health;
use crate::telemetry::vitals::Vitals;

/// `database` is a name without anything secret.
pub fn status(health: &Health, vitals: Vitals, database: &str) -> String {
    let clients = match vitals.clients {
        1 => "1 client".to_owned(),
        count => format!("{count} clients"),
    };
    let text = match health {
        Health::Starting => format!("connecting to {database}"),
        Health::Ready => format!("following {database}; {clients}; {}", events(vitals.last_event)),
        Health::Degraded(why, _) => format!("waiting for {database}; {clients}; {why}"),
        Health::Refused(why) => format!("cannot follow {database}: {why}"),
        Health::Draining => format!("stopping; {clients} left"),
    };
    one_line(&text)
}

fn events(last: Option<Duration>) -> String {
    match last {
        Some(age) => {
            format!(
                "last event {} ago",
                humantime::format_duration(Duration::from_secs(age.as_secs()))
            )
        }
        None => "no event yet".to_owned(),
    }
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST).collect()
}

/// More than fits on a terminal; the log has the whole of it.
const LONGEST: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::Told;

    #[test]
    fn it_says_what_a_person_wants_to_know() {
        let last_event = Some(Duration::from_millis(3_900));
        let vitals = Vitals { clients: 1234, last_event, ..Vitals::default() };
        let line = |health: &Health| status(health, vitals, "rowcast@db:5432/app");
        assert_eq!(
            line(&Health::Ready),
            "following rowcast@db:5432/app; 1234 clients; last event 3s ago"
        );
        assert_eq!(
            line(&Health::Degraded("the server\nno longer answers".into(), Told::Away)),
            "waiting for rowcast@db:5432/app; 1234 clients; the server no longer answers"
        );
        assert_eq!(line(&Health::Draining), "stopping; 1234 clients left");
        assert_eq!(line(&Health::Refused("x".repeat(5000))).chars().count(), LONGEST);
    }

    #[test]
    fn one_client_and_no_event_read_well() {
        let vitals = Vitals { clients: 1, ..Vitals::default() };
        assert_eq!(status(&Health::Ready, vitals, "app"), "following app; 1 client; no event yet");
    }
}
