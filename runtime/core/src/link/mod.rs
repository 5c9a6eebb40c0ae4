//! The link without the link: packets, sessions and the robot's side as machines that are given
//! bytes and the time, and give bytes.
//!
//! * [`wire`]: the one versioned wire format; [`Key`]: authentication;
//! * [`Deframer`], [`enclose`]: packets on a serial line;
//! * [`Endpoint`]: one end, which keeps order and counts what is dropped ([`LinkCounts`], [`Fate`]);
//! * [`robot`]: the robot's end, with its sessions and its watchdog.
//!
//! `docs/protocol.md` has every byte and every rule.

mod counts;
mod endpoint;
mod frame;
pub mod robot;
pub mod wire;

pub use counts::{Fate, LinkCounts};
pub use endpoint::{Endpoint, Received};
pub use frame::{Deframer, Fed, enclose, enclosed_len};
pub use wire::Key;
