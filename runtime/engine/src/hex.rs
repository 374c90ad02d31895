//! Bytes as hexadecimal digits.

/// Two lower-case digits a byte.
#[must_use]
pub fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes of an even number of digits, upper or lower case. `None` for any other text.
#[must_use]
pub fn bytes(text: &str) -> Option<Vec<u8>> {
    let digit = |d: u8| char::from(d).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let (pairs, odd) = text.as_bytes().as_chunks::<2>();
    if !odd.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

/// Exactly `N` bytes; `None` for any other text.
#[must_use]
pub fn array<const N: usize>(text: &str) -> Option<[u8; N]> {
    bytes(text)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_read_in_pairs_and_nothing_else_is() {
        assert_eq!(bytes("00aF"), Some(vec![0, 0xaf]));
        assert_eq!(digits(&[0, 0xaf]), "00af");
        assert_eq!(array("00aF"), Some([0, 0xaf]));
        assert_eq!(array::<3>("00aF"), None);
        for text in ["0", "0g", "+1", " 1", "é"] {
            assert_eq!(bytes(text), None, "{text}");
        }
    }
}
