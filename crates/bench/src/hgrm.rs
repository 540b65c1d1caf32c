//! The percentile distribution as text, the `.hgrm` format that the `HdrHistogram` plotters read.
//!
//! The output is byte for byte that of `outputPercentileDistribution(out, 5, unit_scale)` in the Java
//! class [`Histogram`](https://github.com/HdrHistogram/HdrHistogram), for a histogram of the same
//! bounds, precision and values. The committed golden files hold this; `scripts/hgrm-golden` writes
//! them anew with the Java class.
//!
//! Two details differ from what the `hdrhistogram` crate and `format!` would give:
//!
//! * The mean is one sum of `median × count`, divided once; the crate divides each term.
//! * Decimals are rounded half up on the shortest decimal form of the number, as `java.util.Formatter`
//!   does, and not half to even on its binary value: the level 0.9999755859375 is printed as
//!   `0.999975585938`. JDKs before 21 sometimes take a digit more than the shortest form has, which shows
//!   in numbers printed with 17 digits or more.

use std::io;

use hdrhistogram::Histogram;

/// Lines between a percentile and the one half as far from 100 %.
const TICKS_PER_HALF_DISTANCE: f64 = 5.0;

/// Writes the percentile distribution of `histogram`, each value divided by `unit_scale`: 1,000,000 for a
/// histogram of nanoseconds to be shown in milliseconds.
///
/// # Errors
///
/// Those of `out`, and [`io::ErrorKind::InvalidInput`] if `unit_scale` is not a finite number above zero.
pub fn write_hgrm(out: &mut impl io::Write, histogram: &Histogram<u64>, unit_scale: f64) -> io::Result<()> {
    if !(unit_scale.is_finite() && unit_scale > 0.0) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the unit scale must be finite and positive",
        ));
    }
    let digits = usize::from(histogram.sigfig());
    let scaled = |value: f64| fixed(value / unit_scale, digits);

    write!(out, "{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)")?;
    let mut value = 0;
    let mut seen = 0;
    let mut level = 0.0;
    for step in histogram.iter_recorded() {
        value = step.value_iterated_to();
        seen += step.count_at_value();
        let reached = 100.0 * seen as f64 / histogram.len() as f64;
        while level <= reached && level < 100.0 {
            let quantile = level / 100.0;
            writeln!(
                out,
                "{:>12} {} {seen:>10} {:>14}",
                scaled(value as f64),
                fixed(quantile, 12),
                fixed(1.0 / (1.0 - quantile), 2),
            )?;
            level = next_level(level);
            // All values are behind us: only the line of 100 % is left.
            if seen == histogram.len() {
                break;
            }
        }
    }
    if !histogram.is_empty() {
        writeln!(out, "{:>12} {} {seen:>10}", scaled(value as f64), fixed(1.0, 12))?;
    }

    let (mean, deviation) = moments(histogram);
    writeln!(out, "#[Mean    = {:>12}, StdDeviation   = {:>12}]", scaled(mean), scaled(deviation))?;
    // Not `value`: where only zeros were recorded, 0 is the maximum though their bucket may reach further.
    let highest = scaled(histogram.max() as f64);
    writeln!(out, "#[Max     = {highest:>12}, Total count    = {:>12}]", histogram.len())?;
    let sub_buckets = (2 * 10_u32.pow(u32::from(histogram.sigfig()))).next_power_of_two();
    writeln!(out, "#[Buckets = {:>12}, SubBuckets     = {sub_buckets:>12}]", histogram.buckets())
}

/// The level after `level`, both in percent: the tick is halved whenever half of the distance to 100 % is
/// covered. Gives 100 where the step is too small to be seen in the number.
fn next_level(level: f64) -> f64 {
    let halvings = (100.0 / (100.0 - level)).log2().floor() + 1.0;
    let next = level + 100.0 / (TICKS_PER_HALF_DISTANCE * halvings.exp2());
    if next > level { next } else { 100.0 }
}

/// Mean and standard deviation, each bucket taken at its middle.
fn moments(histogram: &Histogram<u64>) -> (f64, f64) {
    if histogram.is_empty() {
        return (0.0, 0.0);
    }
    let total = histogram.len() as f64;
    let sum = |term: &dyn Fn(f64) -> f64| {
        histogram.iter_recorded().fold(0.0, |sum, step| {
            let middle = histogram.median_equivalent(step.value_iterated_to()) as f64;
            sum + term(middle) * step.count_at_value() as f64
        })
    };
    let mean = sum(&|middle| middle) / total;
    let variance = sum(&|middle| (middle - mean) * (middle - mean)) / total;
    (mean, variance.sqrt())
}

/// `value`, which is not negative, with `decimals` places, rounded half up on its shortest decimal form.
fn fixed(value: f64, decimals: usize) -> String {
    if !value.is_finite() {
        return value.to_string();
    }
    let shortest = shortest(value);
    let (mantissa, exponent) = shortest.split_once('e').unwrap_or((&shortest, "0"));
    let mut digits: Vec<u8> = mantissa.bytes().filter(u8::is_ascii_digit).collect();
    let mut whole = 1 + exponent.parse::<i32>().unwrap_or(0);
    // Leading zeros, so that there is at least one digit before the point, and one for the carry.
    let zeros = usize::try_from(2 - whole.min(1)).unwrap_or(0);
    digits.splice(0..0, std::iter::repeat_n(b'0', zeros));
    whole = whole.max(1) + 1;

    let whole = usize::try_from(whole).unwrap_or(1);
    let keep = whole + decimals;
    let round_up = digits.get(keep).is_some_and(|&digit| digit >= b'5');
    digits.resize(keep, b'0');
    if round_up {
        for digit in digits.iter_mut().rev() {
            if *digit < b'9' {
                *digit += 1;
                break;
            }
            *digit = b'0';
        }
    }
    let text: String = digits.into_iter().map(char::from).collect();
    let (integer, fraction) = text.split_at(whole);
    let integer = integer.strip_prefix('0').unwrap_or(integer);
    if decimals == 0 { integer.to_owned() } else { format!("{integer}.{fraction}") }
}

/// `value` as `d.ddde-x`, with as few digits as identify it; an even last digit where two are as near.
fn shortest(value: f64) -> String {
    let text = format!("{value:e}");
    let decimals = text.split(['.', 'e']).nth(1).filter(|_| text.contains('.')).map_or(0, str::len);
    // A given precision breaks ties to even; without one, they are rounded up.
    let even = format!("{value:.decimals$e}");
    if even.parse() == Ok(value) { even } else { text }
}

#[cfg(test)]
mod tests {
    use super::fixed;

    #[test]
    fn decimals_are_rounded_half_up_on_the_shortest_form() {
        for (value, decimals, expected) in [
            (0.0, 3, "0.000"),
            (0.5, 0, "1"),
            (0.4, 0, "0"),
            (9.96, 1, "10.0"),
            (999.9995, 3, "1000.000"),
            (0.000_499, 3, "0.000"),
            (0.000_5, 3, "0.001"),
            (1.005, 2, "1.01"),
            (0.125, 2, "0.13"),
            (1e22, 1, "10000000000000000000000.0"),
            (123.456, 3, "123.456"),
            (1e-300, 12, "0.000000000000"),
            // Halfway between two forms of 16 digits.
            (723_953_640_099_807.0 + 0.25, 3, "723953640099807.200"),
            (723_953_640_099_807.0 + 0.75, 3, "723953640099807.800"),
        ] {
            assert_eq!(fixed(value, decimals), expected, "{value} with {decimals} decimals");
        }
    }
}
