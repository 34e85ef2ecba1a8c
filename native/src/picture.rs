//! `decodeJpeg` of the add-on: a JPEG becomes the trunk's pixels on a thread of libuv's pool, as libvips' pictures do.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use napi::bindgen_prelude::{AsyncTask, Uint8Array, Uint8ArraySlice};
use napi::{Env, Error, Result, Task};
use napi_derive::napi;

use crate::jpeg::{self, Failure};
use crate::resize::{self, Crop, Size};

/// What is made of a JPEG.
#[napi(object)]
pub struct JpegOptions {
    /// Width of the JPEG, as its header says.
    pub width: u32,
    /// Its height.
    pub height: u32,
    /// Where the coded data of its only scan begins, in bytes.
    pub scan: u32,
    /// The width it is resized to.
    pub resized_width: u32,
    /// The height it is resized to.
    pub resized_height: u32,
    /// The first column of the part that is wanted.
    pub left: u32,
    /// Its first line.
    pub top: u32,
    /// Its width.
    pub crop_width: u32,
    /// Its height.
    pub crop_height: u32,
    /// Decoding is given up so many milliseconds after the call.
    pub timeout_ms: f64,
}

/// Decodes a JPEG to RGB and resizes it. Resolves with `[cropHeight, cropWidth, 3]`.
///
/// Rejects with an error whose message is `late` when the time is up, and otherwise says why there are no pixels. The
/// bytes are copied, so they may be changed or given back meanwhile.
#[napi(ts_return_type = "Promise<Uint8Array>")]
pub fn decode_jpeg(bytes: Uint8ArraySlice<'_>, options: JpegOptions) -> AsyncTask<DecodeJpeg> {
    let time = Duration::try_from_secs_f64(options.timeout_ms / 1000.0).unwrap_or_default();
    AsyncTask::new(DecodeJpeg {
        bytes: bytes.to_vec(),
        deadline: Instant::now() + time.min(LONGEST),
        options,
    })
}

/// No image is decoded for longer.
const LONGEST: Duration = Duration::from_secs(3600);

/// One JPEG on its way.
pub struct DecodeJpeg {
    bytes: Vec<u8>,
    deadline: Instant,
    options: JpegOptions,
}

impl Task for DecodeJpeg {
    type Output = Vec<u8>;
    type JsValue = Uint8Array;

    fn compute(&mut self) -> Result<Vec<u8>> {
        let bytes = std::mem::take(&mut self.bytes);
        // A panic is the image's doing, and fails it alone.
        let made = catch_unwind(AssertUnwindSafe(|| {
            decode(bytes, self.deadline, &self.options)
        }));
        match made {
            Ok(Ok(pixels)) => Ok(pixels),
            Ok(Err(Failure::Late)) => Err(Error::from_reason("late")),
            Ok(Err(Failure::Unreadable(why))) => Err(Error::from_reason(why)),
            Err(_) => Err(Error::from_reason("the decoder panicked")),
        }
    }

    fn resolve(&mut self, _: Env, pixels: Vec<u8>) -> Result<Uint8Array> {
        Ok(pixels.into())
    }
}

fn decode(
    bytes: Vec<u8>,
    deadline: Instant,
    options: &JpegOptions,
) -> std::result::Result<Vec<u8>, Failure> {
    let size = |width: u32, height: u32| Size {
        width: width as usize,
        height: height as usize,
    };
    let from = size(options.width, options.height);
    let to = size(options.resized_width, options.resized_height);
    let crop = Crop {
        left: options.left as usize,
        top: options.top as usize,
        size: size(options.crop_width, options.crop_height),
    };
    let planes = jpeg::decode(bytes, options.scan as usize, from, deadline)?;
    let parts: std::result::Result<Vec<_>, _> = planes
        .iter()
        .map(|plane| resize::fit(plane, from, to, crop))
        .collect();
    Ok(interleaved(&parts.map_err(Failure::Unreadable)?))
}

/// `[height, width, 3]`; grey three times.
fn interleaved(planes: &[Vec<u8>]) -> Vec<u8> {
    let channel = |index: usize| &planes[index.min(planes.len() - 1)];
    let [red, green, blue] = [channel(0), channel(1), channel(2)];
    let mut pixels = Vec::with_capacity(red.len() * 3);
    for ((&red, &green), &blue) in red.iter().zip(green).zip(blue) {
        pixels.extend([red, green, blue]);
    }
    pixels
}
