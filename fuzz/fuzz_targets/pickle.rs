//! One pickle: any bytes are a dictionary of tensors, something else that is harmless, or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use promptist::weights::pickle::scan;

fuzz_target!(|bytes: &[u8]| {
    let Ok(pickle) = scan(bytes) else { return };
    assert!(pickle.len() <= bytes.len());
    let _ = (pickle.tensors(), pickle.strings(), pickle.int(), pickle.long(), pickle.bool_at("little_endian"));
});
