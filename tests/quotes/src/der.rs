//! The SGX extension of a processor's certificate.

use crate::Chip;

/// The value of 1.2.840.113741.1.13.1.
pub(crate) fn sgx_extension(chip: &Chip) -> Vec<u8> {
    let mut versions = Vec::new();
    for (number, component) in (1..).zip(chip.components) {
        versions.extend(pair(&[2, number], &integer(component.into())));
    }
    versions.extend(pair(&[2, 17], &integer(chip.pce_svn)));
    versions.extend(pair(&[2, 18], &element(0x04, &chip.cpu_svn)));
    let values = [
        pair(&[1], &element(0x04, &[0x11; 16])),
        pair(&[2], &element(0x30, &versions)),
        pair(&[3], &element(0x04, &chip.pce_id)),
        pair(&[4], &element(0x04, &chip.fmspc)),
        pair(&[5], &element(0x0a, &[0])),
    ];
    element(0x30, &values.concat())
}

/// SEQUENCE of a name below Intel's and a value.
fn pair(tail: &[u8], value: &[u8]) -> Vec<u8> {
    let name = [&[0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 0x01, 0x0d, 0x01], tail].concat();
    element(0x30, &[&element(0x06, &name), value].concat())
}

fn integer(number: u16) -> Vec<u8> {
    let bytes = number.to_be_bytes();
    let mut bytes = if bytes[0] == 0 { bytes[1..].to_vec() } else { bytes.to_vec() };
    if bytes[0] >= 0x80 {
        bytes.insert(0, 0);
    }
    element(0x02, &bytes)
}

fn element(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    let head = match length {
        [0, low @ ..0x80] => vec![tag, low],
        [0, low] => vec![tag, 0x81, low],
        [high, low] => vec![tag, 0x82, high, low],
    };
    [head, body.to_vec()].concat()
}
