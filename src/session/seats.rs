//! How many connections one user, or one address, has open at once.
//!
//! In: who wants a seat. Out: a guard to hold as long as the connection lasts, or that all are taken. Invariant: who
//! has no connection is not in memory, and a guard that is dropped is a free seat at once.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// So many seats for each.
pub struct Seats<K: Eq + Hash>(Arc<Taken<K>>);

/// One of them; free again when it is dropped.
pub struct Seat<K: Eq + Hash> {
    taken: Arc<Taken<K>>,
    owner: K,
}

/// The seats of each user.
pub type UserSeats = Seats<Arc<str>>;
pub type UserSeat = Seat<Arc<str>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("all seats are taken")]
pub struct Full;

struct Taken<K> {
    most: AtomicUsize,
    by: Mutex<HashMap<K, usize>>,
}

impl<K: Eq + Hash + Clone> Seats<K> {
    pub fn new(most: usize) -> Self {
        Self(Arc::new(Taken { most: AtomicUsize::new(most), by: Mutex::default() }))
    }

    /// From the next one on; who has a seat keeps it.
    pub fn set_most(&self, most: usize) {
        self.0.most.store(most, Ordering::Relaxed);
    }

    pub fn take(&self, owner: impl Into<K>) -> Result<Seat<K>, Full> {
        let owner = owner.into();
        let most = self.0.most.load(Ordering::Relaxed);
        let mut by = self.0.lock();
        match by.get_mut(&owner) {
            Some(count) if *count >= most => return Err(Full),
            Some(count) => *count += 1,
            None if most == 0 => return Err(Full),
            None => drop(by.insert(owner.clone(), 1)),
        }
        Ok(Seat { taken: Arc::clone(&self.0), owner })
    }

    /// How many have a seat at all.
    pub fn owners(&self) -> usize {
        self.0.lock().len()
    }
}

impl<K: Eq + Hash> Drop for Seat<K> {
    fn drop(&mut self) {
        let mut by = self.taken.lock();
        if let Some(count) = by.get_mut(&self.owner) {
            *count -= 1;
            if *count == 0 {
                by.remove(&self.owner);
            }
        }
    }
}

impl<K> Taken<K> {
    /// Nothing panics in between, so a poisoned count would still be right.
    fn lock(&self) -> MutexGuard<'_, HashMap<K, usize>> {
        self.by.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash + fmt::Debug> fmt::Debug for Seat<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Seat").field(&self.owner).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_has_seats_of_their_own_and_a_free_one_can_be_taken_again() {
        let seats = UserSeats::new(2);
        let (first, second) = (seats.take("ana").unwrap(), seats.take("ana").unwrap());
        assert_eq!(seats.take("ana").unwrap_err(), Full);
        let other = seats.take("ben").unwrap();
        drop(first);
        let third = seats.take("ana").unwrap();
        assert_eq!(seats.take("ana").unwrap_err(), Full);
        drop((second, third, other));
        assert_eq!(seats.owners(), 0, "nobody is remembered");
    }

    #[test]
    fn threads_that_take_and_leave_at_once_never_have_more_than_there_are() {
        let (seats, most) = (Seats::<u8>::new(3), std::sync::atomic::AtomicUsize::new(0));
        let open = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for seat in (0..2_000).filter_map(|_| seats.take(1).ok()) {
                        let now = open.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1;
                        most.fetch_max(now, std::sync::atomic::Ordering::SeqCst);
                        open.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                        drop(seat);
                    }
                });
            }
        });
        assert!(most.into_inner() <= 3);
        assert_eq!(seats.owners(), 0);
    }
}
