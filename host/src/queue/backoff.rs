//! Retry times: a pure function of the attempt, the times and one random number.

/// How long to wait between attempts, and when to stop. All times in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryPolicy {
    /// The wait after the first attempt.
    pub base_ms: i64,
    /// Factor between two consecutive waits; at least 1.
    pub multiplier: f64,
    /// The longest wait that this policy chooses by itself. A tool's Retry-After may exceed it.
    pub max_ms: i64,
    /// The share of the wait, 0 to 1, by which it varies at random, either way.
    pub jitter: f64,
    /// How long a job may stay in the queue, counted from when it was accepted or put back, before it is given up.
    pub give_up_ms: i64,
}

/// What happens to a job whose attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Retry at this time, milliseconds since the epoch.
    RetryAt(i64),
    /// The next attempt would be too late: the job becomes a dead letter.
    GiveUp,
}

impl RetryPolicy {
    /// Decides after attempt number `attempt` (from 1) has failed at `now_ms`. `retry_after_ms` is the wait that the
    /// tool asked for; it is used if it is longer, and jitter does not shorten it. `random` is uniform in `0.0..1.0`.
    pub fn next(
        &self,
        attempt: u32,
        queued_ms: i64,
        now_ms: i64,
        retry_after_ms: Option<i64>,
        random: f64,
    ) -> Decision {
        let wait_ms = self.wait_ms(attempt, random).max(retry_after_ms.unwrap_or(0));
        let at_ms = now_ms.saturating_add(wait_ms);
        if at_ms.saturating_sub(queued_ms) >= self.give_up_ms { Decision::GiveUp } else { Decision::RetryAt(at_ms) }
    }

    /// The wait after this many attempts, in milliseconds. `random` is uniform in `0.0..1.0`.
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "waits are far below 2^53 ms")]
    pub fn wait_ms(&self, attempt: u32, random: f64) -> i64 {
        let exponent = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
        let steady = (self.base_ms as f64 * self.multiplier.powi(exponent)).min(self.max_ms as f64);
        let moved = steady * (1.0 + self.jitter * (2.0 * random - 1.0));
        moved.clamp(0.0, self.max_ms as f64).round() as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Decision::{GiveUp, RetryAt};

    const HOUR_MS: i64 = 3_600_000;
    const MIDDLE: f64 = 0.5;
    const POLICY: RetryPolicy =
        RetryPolicy { base_ms: 2_000, multiplier: 2.0, max_ms: 900_000, jitter: 0.2, give_up_ms: 24 * HOUR_MS };

    #[test]
    fn waits_double_until_the_longest() {
        for (attempt, seconds) in
            [(1, 2), (2, 4), (3, 8), (4, 16), (8, 256), (9, 512), (10, 900), (11, 900), (u32::MAX, 900)]
        {
            assert_eq!(POLICY.next(attempt, 0, 1_000, None, MIDDLE), RetryAt(1_000 + seconds * 1_000), "{attempt}");
        }
    }

    #[test]
    fn jitter_moves_a_wait_either_way_but_not_over_the_longest() {
        for (attempt, random, wait_ms) in
            [(1, 0.0, 1_600), (1, 0.25, 1_800), (1, 1.0, 2_400), (20, 0.0, 720_000), (20, 1.0, 900_000)]
        {
            assert_eq!(POLICY.next(attempt, 0, 0, None, random), RetryAt(wait_ms), "{attempt} {random}");
        }
    }

    #[test]
    fn the_tools_retry_after_counts_when_it_is_longer() {
        for (retry_after_ms, wait_ms) in
            [(0, 2_000), (1_999, 2_000), (2_001, 2_001), (2 * HOUR_MS, 2 * HOUR_MS), (-5, 2_000)]
        {
            assert_eq!(POLICY.next(1, 0, 0, Some(retry_after_ms), MIDDLE), RetryAt(wait_ms), "{retry_after_ms}");
        }
    }

    #[test]
    fn a_job_is_given_up_when_its_next_attempt_would_come_too_late() {
        let give_up = POLICY.give_up_ms;
        for (now_ms, retry_after_ms, expected) in [
            (give_up - 2_001, None, RetryAt(give_up - 1)),
            (give_up - 2_000, None, GiveUp),
            (give_up + HOUR_MS, None, GiveUp),
            (0, Some(give_up - 1), RetryAt(give_up - 1)),
            (0, Some(give_up), GiveUp),
            (0, Some(i64::MAX), GiveUp),
        ] {
            assert_eq!(POLICY.next(1, 0, now_ms, retry_after_ms, MIDDLE), expected, "{now_ms} {retry_after_ms:?}");
        }
    }
}
