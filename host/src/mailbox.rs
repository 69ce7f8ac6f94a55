//! A bounded queue that threads take from: the writer all that waits, a lane one call at a time. Whoever waits sleeps; on
//! a busy machine a receiver that spins takes its processor from those that it waits for.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// The queue. Any thread may put into it and take from it.
#[derive(Debug)]
pub struct Mailbox<T> {
    places: usize,
    inner: Mutex<Inner<T>>,
    filled: Condvar,
}

#[derive(Debug)]
struct Inner<T> {
    waiting: VecDeque<T>,
    closed: bool,
    /// Threads that wait for something to take.
    takers: usize,
}

/// Why something was not put in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotPut {
    /// All places are taken.
    Full,
    /// Nothing is put in any more.
    Closed,
}

/// What a look into the mailbox brought.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken<T> {
    /// The one that has waited longest.
    One(T),
    /// Nothing came in time.
    Nothing,
    /// Nothing is there and nothing will come.
    Closed,
}

impl<T> Mailbox<T> {
    /// With so many places.
    pub fn new(places: usize) -> Self {
        let inner = Inner { waiting: VecDeque::new(), closed: false, takers: 0 };
        Self { places, inner: Mutex::new(inner), filled: Condvar::new() }
    }

    /// Puts one in, and says whether a thread waits that will take it. Never waits itself.
    ///
    /// # Errors
    /// When it is full or closed.
    pub fn put(&self, one: T) -> Result<bool, NotPut> {
        let mut inner = self.lock();
        if inner.closed {
            return Err(NotPut::Closed);
        }
        if inner.waiting.len() >= self.places {
            return Err(NotPut::Full);
        }
        // Those that were woken for what came before count as takers until they run.
        let is_awaited = inner.takers > inner.waiting.len();
        inner.waiting.push_back(one);
        drop(inner);
        // Waking costs a system call, so nobody is woken who does not sleep.
        if is_awaited {
            self.filled.notify_one();
        }
        Ok(is_awaited)
    }

    /// Waits for one.
    pub fn take(&self, wait_max: Duration) -> Taken<T> {
        let deadline = Instant::now() + wait_max;
        let mut inner = self.lock();
        loop {
            if let Some(one) = inner.waiting.pop_front() {
                return Taken::One(one);
            }
            if inner.closed {
                return Taken::Closed;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Taken::Nothing;
            }
            inner.takers += 1;
            inner = self.filled.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
            inner.takers -= 1;
        }
    }

    /// Waits until there is something, and appends all of it, up to `most`, to `taken`. False when nothing will come.
    pub fn take_all(&self, taken: &mut Vec<T>, most: usize) -> bool {
        let mut inner = self.lock();
        while inner.waiting.is_empty() && !inner.closed {
            inner.takers += 1;
            inner = self.filled.wait(inner).unwrap_or_else(PoisonError::into_inner);
            inner.takers -= 1;
        }
        let count = inner.waiting.len().min(most);
        taken.extend(inner.waiting.drain(..count));
        count > 0
    }

    /// Lets nothing more in; what is there can still be taken.
    pub fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.lock().waiting.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, thread};

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn what_was_put_first_is_taken_first_up_to_the_limit() {
        let mailbox = Mailbox::new(3);
        for number in 0..3 {
            assert_eq!(mailbox.put(number), Ok(false));
        }
        assert_eq!(mailbox.put(3), Err(NotPut::Full));
        assert_eq!(mailbox.take(LONG), Taken::One(0));
        assert_eq!(mailbox.put(3), Ok(false));
        let mut taken = vec![];
        assert!(mailbox.take_all(&mut taken, 2));
        assert!(mailbox.take_all(&mut taken, 2));
        assert_eq!(taken, [1, 2, 3]);
        assert_eq!(mailbox.take(Duration::ZERO), Taken::Nothing);
    }

    #[test]
    fn a_closed_one_gives_what_it_has() {
        let mailbox = Mailbox::new(3);
        assert_eq!(mailbox.put(1), Ok(false));
        mailbox.close();
        assert_eq!(mailbox.put(2), Err(NotPut::Closed));
        assert_eq!(mailbox.take(LONG), Taken::One(1));
        assert_eq!(mailbox.take(LONG), Taken::Closed);
        assert!(!mailbox.take_all(&mut vec![], 1));
    }

    #[test]
    fn whoever_waits_is_woken_by_the_next_one_and_by_the_end() {
        let mailbox = Arc::new(Mailbox::new(100));
        let takers: Vec<_> = (0..3)
            .map(|_| {
                let mailbox = Arc::clone(&mailbox);
                thread::spawn(move || {
                    let mut taken = 0;
                    while let Taken::One(number) = mailbox.take(LONG) {
                        taken += number;
                    }
                    taken
                })
            })
            .collect();
        for _ in 0..1_000 {
            while mailbox.put(1) == Err(NotPut::Full) {
                thread::yield_now();
            }
        }
        mailbox.close();
        let sum: usize = takers.into_iter().map(|taker| taker.join().unwrap()).sum();
        assert_eq!(sum, 1_000);
    }
}
