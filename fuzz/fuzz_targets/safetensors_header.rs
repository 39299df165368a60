//! The header of a safetensors file: any bytes are a checkpoint or an error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use promptist::weights::safetensors::read_header;

fuzz_target!(|bytes: &[u8]| {
    let Ok(header) = read_header(bytes) else { return };
    for (_, dtype, shape) in header.iter() {
        // Whatever was admitted lies within the file.
        let bits = shape.iter().product::<usize>() * dtype.bitsize();
        assert!(bits / 8 <= bytes.len());
    }
});
