//! How large the filter is to be: by bits, by rate, or by memory.

use bench::format::{grouped, parse_count};
use filters::{Kind, MAX_BITS, Plan};

use crate::{Args, backend::FilterName};

const BITS: f64 = 10.0;
const POSITIONS: u32 = 7;

/// How large, for any number of keys.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    by: By,
    positions: Option<u32>,
}

#[derive(Clone, Copy, Debug)]
enum By {
    Bits(f64),
    Rate(f64),
    /// So many bytes, in places of so many bits.
    Memory(u64, u64),
}

impl Size {
    /// The plan for `items` keys.
    ///
    /// # Errors
    ///
    /// Which flag asks for what cannot be had.
    pub(crate) fn plan(self, items: u64) -> Result<Plan, String> {
        let (flag, bits) = match self.by {
            By::Rate(rate) => {
                return Plan::for_rate(items, rate).map_err(|error| format!("--fpr {rate}: {error}"));
            }
            By::Memory(bytes, width) => ("--memory", in_bits(bytes / width, items)?),
            By::Bits(bits) => ("--bits", bits),
        };
        let plan = Plan::for_bits(items, bits).map_err(|error| format!("{flag}: {error}"))?;
        match self.positions {
            Some(positions) => {
                plan.with_positions(positions).map_err(|error| format!("--positions: {error}"))
            }
            None => Ok(plan),
        }
    }
}

impl Args {
    pub(crate) fn size(&self) -> Size {
        let size = &self.filter;
        // A counter has four bits, where others have one.
        let width = if size.filter == FilterName::Local(Kind::Counting) { 4 } else { 1 };
        let by = match (size.fpr, size.memory, size.bits) {
            (Some(rate), ..) => By::Rate(rate),
            (_, Some(bytes), _) => By::Memory(bytes, width),
            (.., bits) => By::Bits(bits.unwrap_or(BITS)),
        };
        let usual = (size.memory.is_none() && size.bits.is_none()).then_some(POSITIONS);
        Size { by, positions: size.positions.or(usual) }
    }

    /// The plan for `items` keys.
    ///
    /// # Errors
    ///
    /// Those of [`Size::plan`].
    pub(crate) fn plan(&self, items: u64) -> Result<Plan, String> {
        self.size().plan(items)
    }

    /// As many keys as the filter has room for from the start: the rows that are there, and those that the run inserts.
    pub(crate) fn planned(&self) -> u64 {
        self.rows.items + self.expected_inserts()
    }

    pub(crate) fn expected_inserts(&self) -> u64 {
        if self.rows.writes <= 0.0 {
            return 0;
        }
        // A run by time inserts as many as it gets done.
        let requests = if self.run.duration.is_some() { 10_000_000 } else { self.run.requests };
        ((requests as f64 * self.rows.writes * 1.05).ceil() as u64).max(1_000)
    }
}

fn in_bits(bytes: u64, items: u64) -> Result<f64, String> {
    let bits = bytes as f64 * 8.0 / items as f64;
    if bits > MAX_BITS {
        let least = (bytes as f64 * 8.0 / MAX_BITS).ceil() as u64;
        return Err(format!(
            "--memory: {} bytes are {bits:.0} bits for each of {} keys, and more than {MAX_BITS} are no use to hashes of \
             64 bits; use --items {least} or more, or less memory",
            grouped(bytes),
            grouped(items)
        ));
    }
    // A table has whole words, and the last bit of them is not to be rounded up to the first of the next.
    Ok(((bytes / 8 * 64) as f64 - 0.5) / items as f64)
}

/// `95MB`, `64MiB`, `500k`.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 7] = [
        ("GiB", 1 << 30),
        ("MiB", 1 << 20),
        ("KiB", 1 << 10),
        ("GB", 1_000_000_000),
        ("MB", 1_000_000),
        ("kB", 1_000),
        ("B", 1),
    ];
    let wrong = || format!("{text:?} is no size; write it like 95MB or 64MiB");
    let (number, unit) =
        UNITS.iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit))).ok_or_else(wrong)?;
    let bytes = parse_count(number).map_err(|_| wrong())?.checked_mul(unit).filter(|bytes| *bytes >= 8);
    bytes.ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        assert_eq!(parse_bytes("95MB"), Ok(95_000_000));
        assert_eq!(parse_bytes("64MiB"), Ok(64 << 20));
        for wrong in ["95", "MB", "-1MB", "7B", "95 megabytes"] {
            assert!(parse_bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_table_of_so_much_memory_is_no_larger() {
        let bits = in_bits(95_000_000, 31_000_000).unwrap();
        let table = Plan::for_bits(31_000_000, bits).unwrap().total_bits().div_ceil(64) * 8;
        assert!((94_999_980..=95_000_000).contains(&table), "{table}");
        let error = in_bits(95_000_000, 10_000_000).unwrap_err();
        assert!(error.contains("11875000"), "{error}");
    }
}
