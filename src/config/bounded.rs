//! Values with bounds: numbers, times, sizes, and names out of a few.
//!
//! In: a [`Given`] value and the bounds of its key. Out: the value, or a sentence with the bounds.
//! Invariant: what is out of bounds is refused, never cut to fit.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::setting::{Given, Setting, quoted};
use super::units::{self, ByteSize};

/// A whole number with bounds.
pub struct Count<'a, T>(pub &'a mut T, pub RangeInclusive<T>);

impl<T> Setting for Count<'_, T>
where
    T: Copy + PartialOrd + Display + TryFrom<i128>,
{
    fn set(&mut self, given: Given<'_>) -> Result<(), String> {
        let wanted = || format!("must be from {} to {}", self.1.start(), self.1.end());
        let number = T::try_from(given.integer()?).map_err(|_| wanted())?;
        *self.0 = Some(number).filter(|number| self.1.contains(number)).ok_or_else(wanted)?;
        Ok(())
    }

    fn show(&self) -> String {
        self.0.to_string()
    }
}

/// A time with bounds.
pub struct Time<'a>(pub &'a mut Duration, pub RangeInclusive<Duration>);

impl Setting for Time<'_> {
    fn set(&mut self, given: Given<'_>) -> Result<(), String> {
        let zero = matches!(given.integer(), Ok(0));
        let duration = units::parse_duration(if zero { "0" } else { given.text()? })?;
        let (low, high) = (self.1.start(), self.1.end());
        if !self.1.contains(&duration) {
            let (low, high) = (units::show_duration(*low), units::show_duration(*high));
            return Err(format!("must be from {low} to {high}"));
        }
        *self.0 = duration;
        Ok(())
    }

    fn show(&self) -> String {
        quoted(&units::show_duration(*self.0))
    }
}

/// A number of bytes with bounds.
pub struct Size<'a>(pub &'a mut ByteSize, pub RangeInclusive<ByteSize>);

impl Setting for Size<'_> {
    fn set(&mut self, given: Given<'_>) -> Result<(), String> {
        let size = match given.integer() {
            Ok(number) => u64::try_from(number).ok().map(ByteSize),
            Err(_) => units::parse_size(given.text()?),
        };
        let size = size.ok_or("must be a size, such as 65536, \"64KiB\" or \"4GiB\"")?;
        if !self.1.contains(&size) {
            let (low, high) = (units::show_size(*self.1.start()), units::show_size(*self.1.end()));
            return Err(format!("must be from {low} to {high}"));
        }
        *self.0 = size;
        Ok(())
    }

    fn show(&self) -> String {
        quoted(&units::show_size(*self.0))
    }
}

/// One of a few names.
pub struct Choice<'a, T: 'static>(pub &'a mut T, pub &'static [(&'static str, T)]);

impl<T: Copy + PartialEq> Setting for Choice<'_, T> {
    fn set(&mut self, given: Given<'_>) -> Result<(), String> {
        let text = given.text()?;
        let choice = self.1.iter().find(|(name, _)| *name == text);
        let names: Vec<&str> = self.1.iter().map(|(name, _)| *name).collect();
        *self.0 = choice.ok_or_else(|| format!("must be one of {}", names.join(", ")))?.1;
        Ok(())
    }

    fn show(&self) -> String {
        let choice = self.1.iter().find(|(_, value)| value == self.0);
        quoted(choice.map_or("", |(name, _)| name))
    }
}
