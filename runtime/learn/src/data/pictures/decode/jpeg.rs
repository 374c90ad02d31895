//! JPEG files, by zune-jpeg. The package is compiled without its SIMD, and so without `unsafe`.

use zune_jpeg::{
    JpegDecoder,
    zune_core::{bytestream::ZCursor, colorspace::ColorSpace, options::DecoderOptions},
};

use super::{AGAIN, Decoded, PIXELS, Pixels, Plane, Refused, Value as _, broken, check_size, check_upright};

pub(super) fn decode(bytes: &[u8]) -> Result<Decoded, Refused> {
    // A file that is cut short would otherwise end in grey pixels.
    let options = DecoderOptions::default().set_use_unsafe(false).set_strict_mode(true);
    let options = options.set_max_width(PIXELS as usize).set_max_height(PIXELS as usize);
    let mut headers = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    headers.decode_headers().map_err(|e| broken(&e))?;
    let info = headers.info().ok_or_else(|| Refused::new("the picture has no header", AGAIN))?;
    let (width, height) = (usize::from(info.width), usize::from(info.height));
    check_size(width as u64, height as u64)?;
    check_upright(headers.exif().map(Vec::as_slice))?;
    let (channels, space) = match headers.input_colorspace() {
        Some(ColorSpace::Luma) => (1, ColorSpace::Luma),
        Some(ColorSpace::YCbCr | ColorSpace::RGB) => (3, ColorSpace::RGB),
        Some(ColorSpace::CMYK | ColorSpace::YCCK) => {
            return Err(Refused::new(
                "the picture has the four colours of printing (CMYK)",
                "convert the file: in Python, PIL.Image.open(F).convert('RGB').save(G)",
            ));
        }
        _ => return Err(Refused::new("the colours of the picture are neither grey nor RGB", super::AS_PNG)),
    };
    if !bytes.windows(2).rev().any(|pair| pair == END) {
        return Err(Refused::new("the file is cut short", AGAIN));
    }
    let options = options.jpeg_set_out_colorspace(space);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    let values = decoder.decode().map_err(|e| broken(&e))?;
    if values.len() != width * height * channels {
        return Err(Refused::new("the picture has other pixels than its header says", AGAIN));
    }
    let plane = Plane { height, width, channels, values };
    Ok(Decoded { pixels: Pixels::Bytes(plane), most: u8::MOST, palette: None })
}

/// The marker at the end.
const END: &[u8] = b"\xff\xd9";
