//! A bounded queue between threads: a writer takes everything in it, a lane one call at a time. Receivers sleep while
//! they wait. On a busy machine, a spinning receiver would take the processor from the threads that it waits for.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// The queue. Any thread may put items in and take them out.
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
    /// Number of threads waiting for an item.
    takers: usize,
}

/// Why an item was not put in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotPut {
    /// The mailbox has its maximum number of items.
    Full,
    /// The mailbox is closed to new items.
    Closed,
}

/// The result of waiting for an item.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken<T> {
    /// The oldest item.
    One(T),
    /// No item came in time.
    Nothing,
    /// The mailbox is empty and closed.
    Closed,
}

impl<T> Mailbox<T> {
    /// Creates a mailbox that holds at most `places` items.
    pub fn new(places: usize) -> Self {
        let inner = Inner { waiting: VecDeque::new(), closed: false, takers: 0 };
        Self { places, inner: Mutex::new(inner), filled: Condvar::new() }
    }

    /// Puts an item in, and returns whether a waiting thread will take it. Never waits.
    ///
    /// # Errors
    /// If the mailbox is full or closed.
    pub fn put(&self, one: T) -> Result<bool, NotPut> {
        let mut inner = self.lock();
        if inner.closed {
            return Err(NotPut::Closed);
        }
        if inner.waiting.len() >= self.places {
            return Err(NotPut::Full);
        }
        // Threads woken for earlier items count as takers until they run.
        let is_awaited = inner.takers > inner.waiting.len();
        inner.waiting.push_back(one);
        drop(inner);
        // Waking costs a system call, so it is done only if a thread sleeps.
        if is_awaited {
            self.filled.notify_one();
        }
        Ok(is_awaited)
    }

    /// Waits for an item.
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

    /// Waits until there are items, and appends up to `most` of them to `taken`. Returns false if nothing will come any
    /// more.
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

    /// Closes the mailbox to new items; the remaining ones can still be taken.
    pub fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
    }

    /// Whether the mailbox is empty.
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
