//! What the tests of this workspace share, and nothing that a service would use.
//!
//! | | |
//! |---|---|
//! | [`Suite`] | every case on every backend, as trials; what is missing is shown, or a failure |
//! | [`Backend`] | which servers there are, where they listen, and whether a test may use them |
//! | [`RedisServer`], [`Server`] | servers of a test's own: kill, freeze, restart; they die with the test |
//! | [`RedisCluster`] | masters and replicas of a test's own: kill one, cut its replicas, move a slot |
//! | [`FaultProxy`] | delays, losses, cuts and refusals between a client and a server |
//! | [`Scratch`], [`unique`] | folders and names that no other test has |
//! | [`SplitMix64`] | random numbers, the same for the same seed |
//! | [`eventually`] | waits for a condition, with a deadline; no test sleeps |

mod backend;
mod fault_proxy;
mod random;
mod scratch;
mod server;
mod trials;
mod wait;

pub use backend::Backend;
pub use fault_proxy::{Direction, FaultProxy, Traffic};
pub use libtest_mimic::Failed;
pub use random::SplitMix64;
pub use scratch::{Scratch, unique};
pub use server::{RedisBuilder, RedisCluster, RedisClusterBuilder, RedisServer, Reply, Role, Server};
pub use trials::{Setup, Suite};
pub use wait::eventually;
