//! A whole file of weights of any format, as it is opened and read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use promptist::weights::Weights;

fuzz_target!(|bytes: &[u8]| {
    let Ok(weights) = Weights::from_bytes("fuzz", bytes.to_vec()) else { return };
    for name in weights.names() {
        let values = weights.get_f32_any_shape(name);
        let raw = weights.raw(name).expect("a name that was listed");
        // A tensor never has more than the file.
        assert!(raw.len() <= bytes.len());
        assert!(values.is_err() || values.is_ok_and(|values| values.len() * 2 <= bytes.len()));
    }
});
