//! Any bytes as a packet: never a panic, and with a key never accepted.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sog_runtime::link::{Key, wire};

fuzz_target!(|bytes: &[u8]| {
    let key = Key::new(b"a key that the fuzzer does not have");
    assert!(wire::open(bytes, key.as_ref()).is_err(), "forged");
    if let Ok(frame) = wire::open(bytes, None) {
        // What is understood can be said again, and means the same.
        let mut packet = vec![0; wire::MAX_PACKET];
        let len = wire::seal(&frame, None, &mut packet).expect("it came in one packet");
        // As text, because NaN is not equal to itself.
        let again = wire::open(&packet[..len], None).expect("our own packet");
        assert_eq!(format!("{frame:?}"), format!("{again:?}"));
    }
    // With the checksum made good, the content is reached more often.
    let _ = wire::open(&wire::with_checksum(bytes), None);
});
