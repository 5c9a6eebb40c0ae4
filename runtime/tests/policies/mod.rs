//! Policy files of every form, and damage to them.
#![allow(dead_code, clippy::unwrap_used, missing_docs, unreachable_pub)]

use sog_runtime::{
    io::Random,
    policy::{Activation, Architecture, LatentKind, Network, NetworkShape, PolicyFile, example},
};

/// The example with a network of this form.
pub fn other(
    architecture: Architecture,
    activation: Activation,
    hidden: &[usize],
    latent: LatentKind,
) -> PolicyFile {
    let mut file = example(7);
    file.latent = latent;
    let shape = NetworkShape {
        architecture,
        activation,
        hidden: hidden.to_vec(),
        latent: latent.width(),
        ..file.shape()
    };
    let mut random = Random::new(3);
    let mut uniform = || ((random.bits() >> 40) as f32 / (1 << 23) as f32 - 1.0) * 0.5;
    file.network = Network::from_fn(&shape, |_, widths| {
        (0..widths.iter().product()).map(|_| uniform()).collect()
    });
    file.seal(6);
    file
}

/// The same file without the entry of its checksum.
pub fn without_checksum(bytes: &[u8]) -> Vec<u8> {
    let (len, body) = bytes.split_at(8);
    let len = u64::from_le_bytes(len.try_into().unwrap()) as usize;
    let header = String::from_utf8(body[..len].to_vec()).unwrap();
    let from = header.find("\"checksum\"").unwrap();
    let to = from + header[from..].find(',').unwrap() + 1;
    let mut header = format!("{}{}", &header[..from], header[to..].trim_end()).into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    [&(header.len() as u64).to_le_bytes()[..], &header, &body[len..]].concat()
}

/// Damages a file a little.
pub fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    if bytes.is_empty() {
        return;
    }
    let at = random.below(bytes.len());
    // Half of all mutations hit the header, where lengths and offsets are.
    let at = if random.happens(0.5) { at % 1500.min(bytes.len()) } else { at };
    match random.below(7) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = random.bits() as u8,
        2 => bytes.truncate(at),
        3 => drop(bytes.remove(at)),
        4 => bytes.insert(at, random.bits() as u8),
        5 => {
            // Another digit, so that the header stays JSON.
            if let Some(digit) = bytes[at..].iter().position(u8::is_ascii_digit) {
                bytes[at + digit] = b'0' + random.below(10) as u8;
            }
        }
        _ => {
            let len = random.below(16).min(bytes.len() - at);
            let from = random.below(bytes.len() - len + 1);
            bytes.copy_within(from..from + len, at);
        }
    }
}
