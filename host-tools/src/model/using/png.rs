//! A grey PNG file of 8 bits a pixel (PNG specification, third edition).

use std::io::{self, Write as _};

use flate2::{Compression, Crc, write::ZlibEncoder};

/// The file of these pixels, row after row.
///
/// # Errors
/// Those of the encoder, which writes to memory: none are known.
pub(super) fn grey(width: u32, height: u32, pixels: &[u8]) -> io::Result<Vec<u8>> {
    // Depth 8, grey; deflate, filters by row, not interlaced.
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 0, 0, 0, 0]].concat();
    let mut rows = ZlibEncoder::new(Vec::new(), Compression::default());
    for row in pixels.chunks_exact(width.max(1) as usize) {
        // No filter.
        rows.write_all(&[0])?;
        rows.write_all(row)?;
    }
    let mut out = b"\x89PNG\r\n\x1a\n".to_vec();
    for (kind, data) in [(b"IHDR", header), (b"IDAT", rows.finish()?), (b"IEND", Vec::new())] {
        let mut sum = Crc::new();
        sum.update(kind);
        sum.update(&data);
        out.extend((data.len() as u32).to_be_bytes());
        out.extend_from_slice(kind);
        out.extend_from_slice(&data);
        out.extend(sum.sum().to_be_bytes());
    }
    Ok(out)
}
