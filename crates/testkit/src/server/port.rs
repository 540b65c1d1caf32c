//! Ports that no other test has, in this process or another.

use std::{
    env, fs,
    fs::File,
    io,
    net::{Ipv4Addr, TcpListener},
    process,
    sync::atomic::{AtomicU16, Ordering},
};

use rustix::{
    fs::{FlockOperation, flock},
    process::getuid,
};

/// Below the range from which the system takes ports for outgoing connections.
const FIRST: u16 = 20_000;
const COUNT: u16 = 10_000;

/// A port between 20000 and 29999 that is this value's until it is dropped, though nothing may listen
/// on it for a while.
#[derive(Debug)]
pub(crate) struct Port {
    number: u16,
    /// The lock goes with the process, however that ends; the empty file stays.
    _lock: File,
}

impl Port {
    pub(crate) fn lock() -> io::Result<Self> {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        // Processes begin at different places, so that they seldom meet.
        let start = process::id().wrapping_mul(97) % u32::from(COUNT);
        for _ in 0..COUNT {
            let step = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
            let offset = u16::try_from((start + step) % u32::from(COUNT)).unwrap_or_default();
            if let Some(port) = Self::try_lock(FIRST + offset)? {
                return Ok(port);
            }
        }
        Err(io::Error::new(io::ErrorKind::AddrInUse, "all ports from 20000 to 29999 are taken"))
    }

    /// `None` when another test has it, or something listens on it.
    fn try_lock(number: u16) -> io::Result<Option<Self>> {
        let folder = env::temp_dir().join(format!("testkit-ports-{}", getuid().as_raw()));
        fs::create_dir_all(&folder)?;
        let lock = File::options().create(true).append(true).open(folder.join(number.to_string()))?;
        let is_ours = flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok();
        let is_free = is_ours && TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok();
        Ok(is_free.then_some(Self { number, _lock: lock }))
    }

    pub(crate) fn number(&self) -> u16 {
        self.number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_given_once_and_again_after_it_was_dropped() {
        let ports: Vec<_> = (0..100).map(|_| Port::lock().unwrap()).collect();
        let mut numbers: Vec<_> = ports.iter().map(Port::number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), 100);
        assert!(numbers.iter().all(|number| (20_000..30_000).contains(number)));

        let number = ports[0].number();
        assert!(Port::try_lock(number).unwrap().is_none());
        drop(ports);
        assert!(Port::try_lock(number).unwrap().is_some());
    }

    #[test]
    fn a_port_on_which_something_listens_is_not_given() {
        let port = Port::lock().unwrap();
        let number = port.number();
        let stranger = TcpListener::bind((Ipv4Addr::LOCALHOST, number)).unwrap();
        drop(port);
        assert!(Port::try_lock(number).unwrap().is_none());
        drop(stranger);
    }
}
