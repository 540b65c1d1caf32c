//! Numbers as people write and read them.

use std::time::Duration;

/// A whole number with an optional `k`, `M` or `G`, and `_` or `,` between digits: `10M`, `1_000`,
/// `2.5k`.
///
/// # Errors
///
/// When the text is no such number, is negative, has a fraction left, or exceeds 2^53.
pub fn parse_count(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is not a number; write it like 1000, 250k or 10M");
    let digits: String = text.trim().chars().filter(|c| !matches!(c, '_' | ',')).collect();
    let (digits, unit) = match digits.chars().last() {
        Some('k' | 'K') => (&digits[..digits.len() - 1], 1_000_u64),
        Some('m' | 'M') => (&digits[..digits.len() - 1], 1_000_000),
        Some('g' | 'G') => (&digits[..digits.len() - 1], 1_000_000_000),
        _ => (digits.as_str(), 1),
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_ascii_digit() || c == '.') {
        return Err(wrong());
    }
    if let Ok(whole) = digits.parse::<u64>() {
        let count = whole.checked_mul(unit).filter(|count| *count <= 1 << 53);
        return count.ok_or_else(|| format!("{text:?} is too large; the most is 2^53"));
    }
    let count = digits.parse::<f64>().map_err(|_| wrong())? * unit as f64;
    if count.fract() != 0.0 || count > 9e15 {
        return Err(wrong());
    }
    Ok(count as u64)
}

/// A duration with its unit: `500us`, `20ms`, `1.5s`, `2min`, `1h`.
///
/// # Errors
///
/// When the text is no such duration.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, f64); 6] =
        [("ns", 1e-9), ("us", 1e-6), ("ms", 1e-3), ("min", 60.0), ("h", 3600.0), ("s", 1.0)];
    let text = text.trim();
    let wrong = || format!("{text:?} is not a duration; write it with a unit: 500us, 20ms, 1.5s, 2min, 1h");
    let (digits, unit) =
        UNITS.iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, unit))).ok_or_else(wrong)?;
    let number: f64 = digits.trim().parse().map_err(|_| wrong())?;
    Duration::try_from_secs_f64(number * unit).map_err(|_| wrong())
}

/// A share: `5%`, or `0.05`.
///
/// # Errors
///
/// When the text is no share, or one outside of 0 to 1.
pub fn parse_share(text: &str) -> Result<f64, String> {
    let number = match text.strip_suffix('%') {
        Some(percent) => percent.trim().parse::<f64>().map(|percent| percent / 100.0),
        None => text.trim().parse(),
    };
    let share = number.ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| format!("{text:?} is not a share; write it like 5% or 0.05"))
}

/// Nanoseconds with three significant digits and a unit: `812 ns`, `1.25 us`, `13.0 ms`.
#[must_use]
pub fn nanos(nanos: f64) -> String {
    const UNITS: [(f64, &str); 4] = [(1e9, "s"), (1e6, "ms"), (1e3, "us"), (1.0, "ns")];
    let (scale, unit) = UNITS.into_iter().find(|(scale, _)| nanos >= *scale).unwrap_or((1.0, "ns"));
    format!("{} {unit}", significant(nanos / scale))
}

/// A rate or a count with three significant digits: `12.3 M`, `456 k`, `789`.
#[must_use]
pub fn quantity(value: f64) -> String {
    const UNITS: [(f64, &str); 3] = [(1e9, " G"), (1e6, " M"), (1e3, " k")];
    match UNITS.into_iter().find(|(scale, _)| value >= *scale) {
        Some((scale, unit)) => format!("{}{unit}", significant(value / scale)),
        None => significant(value),
    }
}

/// Bytes: `4.20 MiB`.
#[must_use]
pub fn bytes(bytes: u64) -> String {
    const UNITS: [(f64, &str); 3] = [(1_073_741_824.0, "GiB"), (1_048_576.0, "MiB"), (1_024.0, "KiB")];
    let bytes = bytes as f64;
    match UNITS.into_iter().find(|(scale, _)| bytes >= *scale) {
        Some((scale, unit)) => format!("{} {unit}", significant(bytes / scale)),
        None => format!("{bytes} B"),
    }
}

/// A whole number with a comma between thousands.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn significant(value: f64) -> String {
    let decimals = if value >= 99.95 || value == value.trunc() && value == 0.0 {
        0
    } else if value >= 9.995 {
        1
    } else {
        2
    };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_durations_are_read_as_people_write_them() {
        assert_eq!(parse_count("10M"), Ok(10_000_000));
        assert_eq!(parse_count("2.5k"), Ok(2_500));
        assert_eq!(parse_count("1_000,000"), Ok(1_000_000));
        assert_eq!(parse_duration("1.5s"), Ok(Duration::from_millis(1_500)));
        assert_eq!((parse_share("5%"), parse_share("0.05")), (Ok(0.05), Ok(0.05)));
        assert!(parse_share("101%").is_err() && parse_share("nan").is_err() && parse_share("-1").is_err());
        assert_eq!(parse_duration("2min"), Ok(Duration::from_secs(120)));
        for wrong in ["", "-1", "1.5", "x", "10MM", "1e9", "99999999999999999999", "9999999G", "k"] {
            assert!(parse_count(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "5", "s", "-1s", "nans", "1e400s", "five s"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn figures_have_three_significant_digits() {
        assert_eq!(nanos(812.0), "812 ns");
        assert_eq!(nanos(1_250.0), "1.25 us");
        assert_eq!(nanos(13_000_000.0), "13.0 ms");
        assert_eq!(quantity(12_345_678.0), "12.3 M");
        assert_eq!(quantity(0.0), "0");
        assert_eq!(bytes(4_404_019), "4.20 MiB");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(grouped(123), "123");
    }
}
