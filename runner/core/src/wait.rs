//! How long a loop's wait may take.

use std::time::Instant;

use nix::poll::PollTimeout;

/// For poll(2) and epoll_wait(2), which count milliseconds: rounded up, so that what was waited for
/// is due, and nobody wakes up again and again for less than one. Without `until` there is no end.
pub fn timeout(until: Option<Instant>) -> PollTimeout {
    let Some(until) = until else {
        return PollTimeout::NONE;
    };
    let left = until.saturating_duration_since(Instant::now());
    let millis = i32::try_from(left.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX);
    PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_due_is_not_waited_for_and_less_than_a_millisecond_is_one() {
        let now = Instant::now();
        assert_eq!(timeout(Some(now)), PollTimeout::ZERO);
        assert_eq!(timeout(None), PollTimeout::NONE);
        let soon = timeout(Some(Instant::now() + Duration::from_micros(59_999_500)));
        assert!(soon.as_millis().is_some_and(|millis| millis <= 60_000), "{soon:?}");
        let far = timeout(Some(now + Duration::from_secs(1 << 40)));
        assert_eq!(far.as_millis(), Some(i32::MAX.cast_unsigned()));
    }
}
