//! TensorBoard event files: scalars only.
//!
//! A file is a sequence of TFRecords: length (u64), masked CRC-32C of the length (u32), data,
//! masked CRC-32C of the data (u32), little-endian. The data is a protocol buffer `Event`:
//!
//! ```text
//! Event   { double wall_time = 1; int64 step = 2; string file_version = 3; Summary summary = 5; }
//! Summary { repeated Value value = 1; }     Value { string tag = 1; float simple_value = 2; }
//! ```

const CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI);

/// Rotation and offset with which TFRecord masks its checksums.
fn masked_crc(bytes: &[u8]) -> u32 {
    CRC.checksum(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// Frames one event as a TFRecord.
pub(super) fn record(event: &[u8]) -> Vec<u8> {
    let len = (event.len() as u64).to_le_bytes();
    let mut out = len.to_vec();
    out.extend(masked_crc(&len).to_le_bytes());
    out.extend(event);
    out.extend(masked_crc(event).to_le_bytes());
    out
}

/// The event that opens a file.
pub(super) fn file_version(wall_time_s: f64) -> Vec<u8> {
    let mut event = Vec::new();
    put_f64(&mut event, 1, wall_time_s);
    put_bytes(&mut event, 3, b"brain.Event:2");
    event
}

/// The event with the scalars of one step.
pub(super) fn scalars(wall_time_s: f64, step: u64, values: &[(&str, f64)]) -> Vec<u8> {
    let mut summary = Vec::new();
    for (tag, value) in values {
        let mut entry = Vec::new();
        put_bytes(&mut entry, 1, tag.as_bytes());
        put_f32(&mut entry, 2, *value as f32);
        put_bytes(&mut summary, 1, &entry);
    }
    let mut event = Vec::new();
    put_f64(&mut event, 1, wall_time_s);
    put_key(&mut event, 2, 0);
    put_varint(&mut event, step);
    put_bytes(&mut event, 5, &summary);
    event
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_key(out: &mut Vec<u8>, field: u64, wire_type: u64) {
    put_varint(out, field << 3 | wire_type);
}

fn put_bytes(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    put_key(out, field, 2);
    put_varint(out, bytes.len() as u64);
    out.extend(bytes);
}

fn put_f64(out: &mut Vec<u8>, field: u64, value: f64) {
    put_key(out, field, 1);
    out.extend(value.to_le_bytes());
}

fn put_f32(out: &mut Vec<u8>, field: u64, value: f32) {
    put_key(out, field, 5);
    out.extend(value.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that tensorboardX 2.6 (Python) writes for the same event, wall time 1.5.
    #[test]
    fn an_event_has_the_bytes_that_tensorboard_reads() {
        let event = scalars(1.5, 300, &[("loss", 0.25)]);
        let hex: String = event.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, "09000000000000f83f10ac022a0d0a0b0a046c6f7373150000803e");
    }

    /// The masked value is that of the same package.
    #[test]
    fn the_checksum_is_crc32c_masked() {
        assert_eq!(CRC.checksum(b"123456789"), 0xe306_9283);
        assert_eq!(masked_crc(b"123456789"), 0xc78a_b0e5);
        assert_eq!(record(b"x").len(), 8 + 4 + 1 + 4);
    }
}
