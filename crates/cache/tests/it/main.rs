//! What a user of a cache relies on.

mod schedules;
