use std::net::IpAddr;

/// A block of addresses, as `10.0.0.0/8`, `2001:db8::/32`, or one address.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cidr {
    base: IpAddr,
    prefix: u8,
}

impl Cidr {
    /// What is wrong is said to whoever wrote the list.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let malformed = || format!("{text:?} is not a block of addresses; write it like 10.0.0.0/8");
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let base: IpAddr = address.parse().map_err(|_| malformed())?;
        let prefix = match prefix {
            // Not the signs and leading zeros that `parse` takes.
            Some("0") => 0,
            Some(digits) if digits.starts_with(|c: char| c.is_ascii_digit() && c != '0') => {
                digits.parse().map_err(|_| malformed())?
            }
            Some(_) => return Err(malformed()),
            None => width(base),
        };
        if prefix > width(base) {
            return Err(malformed());
        }
        if base.to_canonical() != base {
            return Err(format!("{text:?} is an IPv4 address in IPv6 form: write it as IPv4"));
        }
        if masked(base, prefix) != base {
            let meant = masked(base, prefix);
            return Err(format!("{text:?} has bits set after its prefix: did you mean {meant}/{prefix}?"));
        }
        Ok(Self { base, prefix })
    }

    /// The address is in canonical form.
    pub(super) fn contains(&self, address: IpAddr) -> bool {
        masked(address, self.prefix) == self.base
    }
}

const fn width(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// The first `prefix` bits of an address; all of them where it has no more.
pub(super) fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32_u32.saturating_sub(prefix.into())).unwrap_or(0);
            IpAddr::V4((v4.to_bits() & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128_u32.saturating_sub(prefix.into())).unwrap_or(0);
            IpAddr::V6((v6.to_bits() & mask).into())
        }
    }
}
