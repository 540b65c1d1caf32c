use std::time::Duration;

use bench::BoxError;
use clock::{Clock, CoarseClock};
use governor::clock::QuantaUpkeepClock;

/// The coarse clocks of both, which tick throughout the run.
pub(crate) struct Clocks {
    pub(crate) coarse: CoarseClock,
    pub(crate) upkeep: QuantaUpkeepClock,
}

impl Clocks {
    pub(crate) fn start() -> Result<Self, BoxError> {
        let interval = Duration::from_millis(1);
        let upkeep = QuantaUpkeepClock::from_interval(interval).map_err(|error| error.to_string())?;
        Ok(Self { coarse: CoarseClock::start(interval)?, upkeep })
    }
}

/// Our coarse clock, for a peer that has none.
pub(crate) struct Lent(pub(crate) CoarseClock);

impl ratelimit::Clock for Lent {
    fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.0.now().as_nanos())
    }
}
