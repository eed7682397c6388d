//! Quantities of Kubernetes as numbers: `500m`, `1.5`, `16Ki`, `3e2`.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// What a suffix multiplies by, in thousandths of thousandths of thousandths.
const NANO: i128 = 1_000_000_000;

/// In thousandths, rounded up as Kubernetes does; none where it is no quantity, or negative.
#[must_use]
pub fn thousandths(quantity: &Quantity) -> Option<u64> {
    rounded(nano(&quantity.0)?, NANO / 1000)
}

/// In whole units, rounded up; none where it is no quantity, or negative.
#[must_use]
pub fn whole(quantity: &Quantity) -> Option<u64> {
    rounded(nano(&quantity.0)?, NANO)
}

fn rounded(nano: i128, unit: i128) -> Option<u64> {
    u64::try_from(nano.checked_add(unit - 1)? / unit).ok()
}

/// What is finer than that is cut off, as in Kubernetes.
fn nano(text: &str) -> Option<i128> {
    let end = text.find(|character: char| !character.is_ascii_digit() && character != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (integer, fraction) = number.split_once('.').unwrap_or((number, ""));
    if integer.is_empty() && fraction.is_empty() {
        return None;
    }
    let digits: String = integer.chars().chain(fraction.chars()).collect();
    let (numerator, denominator) = factor(suffix)?;
    let scale = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?.checked_mul(denominator)?;
    digits.parse::<i128>().ok()?.checked_mul(numerator)?.checked_mul(NANO)?.checked_div(scale)
}

/// What a suffix multiplies by, as a fraction.
fn factor(suffix: &str) -> Option<(i128, i128)> {
    let thousand = |power: u32| 1000_i128.pow(power);
    let binary = |power: u32| 1024_i128.pow(power);
    Some(match suffix {
        "n" => (1, thousand(3)),
        "u" => (1, thousand(2)),
        "m" => (1, thousand(1)),
        "" => (1, 1),
        "k" => (thousand(1), 1),
        "M" => (thousand(2), 1),
        "G" => (thousand(3), 1),
        "T" => (thousand(4), 1),
        "P" => (thousand(5), 1),
        "E" => (thousand(6), 1),
        "Ki" => (binary(1), 1),
        "Mi" => (binary(2), 1),
        "Gi" => (binary(3), 1),
        "Ti" => (binary(4), 1),
        "Pi" => (binary(5), 1),
        "Ei" => (binary(6), 1),
        _ => return exponent(suffix.strip_prefix(['e', 'E'])?),
    })
}

fn exponent(text: &str) -> Option<(i128, i128)> {
    let exponent: i32 = text.parse().ok()?;
    let power = 10_i128.checked_pow(exponent.unsigned_abs())?;
    Some(if exponent < 0 { (1, power) } else { (power, 1) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Option<u64>, Option<u64>) {
        let quantity = Quantity(text.to_owned());
        (thousandths(&quantity), whole(&quantity))
    }

    #[test]
    fn every_way_to_write_a_quantity_is_read() {
        assert_eq!(read("2"), (Some(2000), Some(2)));
        assert_eq!(read("500m"), (Some(500), Some(1)));
        assert_eq!(read("1.5"), (Some(1500), Some(2)));
        assert_eq!(read(".25"), (Some(250), Some(1)));
        assert_eq!(read("16Ki").1, Some(16 << 10));
        assert_eq!(read("1.5Gi").1, Some(3 << 29));
        assert_eq!(read("3M").1, Some(3_000_000));
        assert_eq!(read("3e2").1, Some(300));
        assert_eq!(read("12E-1"), (Some(1200), Some(2)));
        assert_eq!(read("7E").1, Some(7_000_000_000_000_000_000));
        assert_eq!(read("100u"), (Some(1), Some(1)), "rounded up");
    }

    #[test]
    fn what_is_none_is_not_read() {
        for text in ["", "many", "-1", "1.2.3", "5Q", ".", "1e", "1e99", "99999999999999999999E"] {
            assert_eq!(read(text), (None, None), "{text:?}");
        }
    }
}
