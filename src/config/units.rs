//! Durations and sizes as people write them: `25s`, `1h30m`, `4GiB`.
//!
//! In: text. Out: [`Duration`], [`ByteSize`], and the shortest text that says the same. Invariant: what
//! is written can be read back unchanged.

use std::time::Duration;

/// A number of bytes: `4GiB`, `64KiB`, or a plain number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// For sizes of things held in memory, where more than the address space is as good as no limit.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// `90s`, `1h30m`; only zero goes without a unit.
pub fn parse_duration(text: &str) -> Result<Duration, &'static str> {
    let whole_millis = |time: &Duration| time.subsec_nanos().is_multiple_of(1_000_000);
    let time = humantime::parse_duration(text).ok().filter(whole_millis);
    time.ok_or("must be a time with its unit, such as \"30s\", \"5m\" or \"24h\"")
}

/// In hours at most: `24h` is how people say how long something is kept or lives.
pub(super) fn show_duration(duration: Duration) -> String {
    let mut millis = duration.as_millis();
    if millis == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, size) in &TIMES {
        let count = millis / u128::from(*size);
        if count > 0 {
            text.extend([count.to_string().as_str(), unit]);
        }
        millis %= u128::from(*size);
    }
    text
}

pub(super) fn parse_size(text: &str) -> Option<ByteSize> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let (_, bytes) = SIZES.iter().find(|(name, _)| *name == unit)?;
    Some(ByteSize(number.parse::<u64>().ok()?.checked_mul(*bytes)?))
}

pub(super) fn show_size(size: ByteSize) -> String {
    let unit =
        SIZES.iter().find(|(unit, bytes)| unit.ends_with("iB") && size.0.is_multiple_of(*bytes));
    match unit {
        Some((unit, bytes)) if size.0 > 0 => format!("{}{unit}", size.0 / bytes),
        _ => format!("{}B", size.0),
    }
}

/// Milliseconds of each unit, largest first.
const TIMES: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Bytes of each unit, largest first. Without a unit a number counts bytes.
const SIZES: [(&str, u64); 10] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
    ("", 1),
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_are_read_with_their_units() {
        for (text, millis) in
            [("25s", 25_000), ("1h30m", 5_400_000), ("2d", 172_800_000), ("250ms", 250)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for bad in ["", "25", "s", "-1s", "1.5x", "500us", "99999999999999999999s"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_are_read_with_their_units() {
        for (text, bytes) in
            [("4GiB", 4 << 30), ("64KiB", 65_536), ("65536", 65_536), ("1MB", 1_000_000)]
        {
            assert_eq!(parse_size(text), Some(ByteSize(bytes)), "{text}");
        }
        for bad in ["", "GiB", "4G", "-1", "4 GiB", "4GiB2", "99999999999TiB"] {
            assert_eq!(parse_size(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(millis in 0_u64..10_000_000_000, bytes in 0_u64..1 << 50) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse_duration(&show_duration(duration)), Ok(duration));
            prop_assert_eq!(parse_size(&show_size(ByteSize(bytes))), Some(ByteSize(bytes)));
            prop_assert_eq!(parse_size(&show_size(ByteSize(bytes << 10))), Some(ByteSize(bytes << 10)));
        }
    }
}
