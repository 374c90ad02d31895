//! Sizes and times as a plan spells them.

use crate::{ByteCount, Millis};

/// `512MiB`: a whole number and a unit.
pub(super) fn size(text: &str) -> Option<ByteCount> {
    let (number, unit) = parts(text)?;
    let shift = match unit {
        "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        _ => return None,
    };
    number.checked_mul(1 << shift).map(ByteCount)
}

/// `10m`: a whole number and a unit.
pub(super) fn duration(text: &str) -> Option<Millis> {
    let (number, unit) = parts(text)?;
    let factor = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.checked_mul(factor).map(Millis)
}

fn parts(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_read_and_everything_else_is_not() {
        assert_eq!(size("512MiB"), Some(ByteCount(512 << 20)));
        assert_eq!(size("4 GiB"), Some(ByteCount(4 << 30)));
        assert_eq!(duration("10m"), Some(Millis(600_000)));
        assert_eq!([duration("0s"), duration("500ms")], [Some(Millis(0)), Some(Millis(500))]);
        assert_eq!(
            [0, 500, 90_000, 600_000, 7_200_000].map(|t| Millis(t).to_string()),
            ["0s", "500ms", "90s", "10m", "2h"]
        );
        for bad in
            ["", "5", "MiB", "5MB", "-5MiB", "1.5GiB", "18446744073709551615KiB", "99999999999999999999B"]
        {
            assert_eq!(size(bad), None, "{bad:?}");
        }
        for bad in ["", "5", "5min", "5d", "-1s", "18446744073709551615h"] {
            assert_eq!(duration(bad), None, "{bad:?}");
        }
    }
}
