//! The orientation that a camera wrote beside the pixels (EXIF 2.3, tag 0x0112).

/// 1 to 8; `None` without the tag, or for bytes that are not EXIF.
pub(super) fn orientation(exif: &[u8]) -> Option<u16> {
    let tiff = exif.strip_prefix(b"Exif\0\0").unwrap_or(exif);
    let little = match tiff.get(..4)? {
        b"II*\0" => true,
        b"MM\0*" => false,
        _ => return None,
    };
    let u16_at = |at: usize| {
        let bytes = *tiff.get(at..)?.first_chunk::<2>()?;
        Some(if little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) })
    };
    let bytes = *tiff.get(4..)?.first_chunk::<4>()?;
    let start = if little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) } as usize;
    let entries = u16_at(start)?;
    let entry = (0..usize::from(entries)).map(|n| start + 2 + 12 * n).find(|at| u16_at(*at) == Some(TAG))?;
    u16_at(entry + 8).filter(|value| (1..=8).contains(value))
}

const TAG: u16 = 0x0112;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orientation_is_read_in_either_order_of_bytes_and_other_bytes_have_none() {
        let little = b"Exif\0\0II*\0\x08\0\0\0\x02\0\x0f\x01\x02\0\x01\0\0\0\0\0\0\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0";
        let big = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x03\0\0";
        assert_eq!((orientation(little), orientation(big)), (Some(6), Some(3)));
        assert_eq!(orientation(b"MM\0*\xff\xff\xff\xff"), None);
        assert_eq!(orientation(b"II*\0\x08\0\0\0\xff\xff"), None);
        assert_eq!(orientation(b""), None);
    }
}
