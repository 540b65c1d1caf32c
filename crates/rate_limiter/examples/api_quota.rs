//! A quota for each user of an API, with what the answer to a request would be.

use std::time::Duration;

use clock::ManualClock;
use rate_limiter::{Decision, Limit, Memory, Quota, RateLimiter};

#[expect(clippy::print_stdout, reason = "an example")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    // A clock that is moved by hand, so that the example need not wait.
    let clock = ManualClock::new();
    let store = Memory::builder().clock(clock.clone()).max_keys(10_000).build::<String, _>()?;
    let quota = Quota::per_minute(60)?.with_burst(3)?;
    let limiter = RateLimiter::new(store, Limit::token_bucket(quota)?);

    for (user, pause) in
        [("alice", 0), ("alice", 0), ("alice", 0), ("alice", 0), ("bob", 0), ("alice", 1_000)]
    {
        clock.advance(Duration::from_millis(pause));
        match limiter.try_acquire(user, 1)? {
            Decision::Allowed { remaining, reset_after, .. } => {
                println!("{user}: 200, {remaining} left, whole again in {reset_after:?}");
            }
            Decision::Denied { retry_after } => println!("{user}: 429, retry after {retry_after:?}"),
            Decision::NeverFits { burst } => println!("{user}: 413, at most {burst} at once"),
        }
    }
    Ok(())
}
