//! Where the other end of a link is.

use std::{
    fmt, io,
    net::{SocketAddr, ToSocketAddrs},
    path::{Path, PathBuf},
    str::FromStr,
};

use super::{Key, Serial, Transport, Udp};

/// Bits per second where an address says nothing else.
const DEFAULT_BAUD: u32 = 921_600;

/// `udp://HOST:PORT` or `serial:///dev/DEVICE?baud=N`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A UDP socket.
    Udp(SocketAddr),
    /// A serial device.
    Serial {
        /// The device.
        device: PathBuf,
        /// Bits per second.
        baud: u32,
    },
}

/// An address that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "address `{found}`: {reason}; need `udp://HOST:PORT` or `serial:///dev/DEVICE?baud=N` \
     (without baud: {DEFAULT_BAUD})"
)]
pub struct ParseAddressError {
    found: String,
    reason: &'static str,
}

impl Address {
    /// A transport of a controller to this address; `local` is the address to send from.
    ///
    /// # Errors
    /// What the system says.
    pub fn connect(&self, local: Option<SocketAddr>) -> io::Result<Box<dyn Transport + Send>> {
        Ok(match self {
            Self::Udp(peer) => Box::new(Udp::connect(*peer, local)?),
            Self::Serial { device, baud } => Box::new(Serial::open(device, *baud)?),
        })
    }

    /// A transport of a robot at this address; `peer` is the only controller that it hears.
    ///
    /// # Errors
    /// What the system says.
    pub fn listen(&self, peer: Option<SocketAddr>) -> io::Result<Box<dyn Transport + Send>> {
        Ok(match self {
            Self::Udp(local) => Box::new(Udp::listen(*local, peer)?),
            Self::Serial { device, baud } => Box::new(Serial::open(device, *baud)?),
        })
    }
}

impl FromStr for Address {
    type Err = ParseAddressError;

    fn from_str(text: &str) -> Result<Self, ParseAddressError> {
        let error = |reason| ParseAddressError { found: text.to_string(), reason };
        match text.split_once("://") {
            Some(("udp", host)) => {
                let mut found =
                    host.to_socket_addrs().map_err(|_| error("no such host or port"))?;
                found.next().map(Self::Udp).ok_or_else(|| error("no such host"))
            }
            Some(("serial", rest)) => {
                let (device, query) = rest.split_once('?').unwrap_or((rest, ""));
                let baud = match query.split_once('=') {
                    None if query.is_empty() => DEFAULT_BAUD,
                    Some(("baud", n)) => {
                        n.parse().ok().filter(|&n| n > 0).ok_or_else(|| error("not a rate"))?
                    }
                    _ => return Err(error("unknown option")),
                };
                if device.is_empty() {
                    return Err(error("no device"));
                }
                Ok(Self::Serial { device: device.into(), baud })
            }
            _ => Err(error("unknown kind of link")),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Udp(address) => write!(f, "udp://{address}"),
            Self::Serial { device, baud } => write!(f, "serial://{}?baud={baud}", device.display()),
        }
    }
}

/// Reads the secret of a key file: all its bytes.
///
/// # Errors
/// If the file cannot be read, others than its owner may read it, or it is too short.
pub fn open_key(path: &Path) -> io::Result<Key> {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(path)?.permissions().mode();
    let error = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    if mode & 0o077 != 0 {
        return Err(error(format!("others may use this key (mode {:o}): chmod 600", mode & 0o777)));
    }
    let bytes = std::fs::read(path)?;
    let found = bytes.len();
    Key::new(&bytes).ok_or_else(|| error(format!("{found} bytes, need {} or more", Key::MIN_BYTES)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_a_round_trip() {
        for text in ["udp://127.0.0.1:5600", "udp://[::1]:1", "serial:///dev/ttyUSB0?baud=115200"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        let plain: Address = "serial:///dev/ttyACM0".parse().unwrap();
        assert_eq!(plain.to_string(), "serial:///dev/ttyACM0?baud=921600");
        for bad in [
            "",
            "udp",
            "udp://",
            "udp://1.2.3.4",
            "tcp://1.2.3.4:5",
            "serial://",
            "serial:///dev/x?baud=0",
            "serial:///dev/x?speed=1",
            "udp://1.2.3.4:99999",
        ] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }

    #[test]
    fn keys_must_be_private_and_long_enough() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let put = |bytes: &[u8], mode| {
            std::fs::write(&path, bytes).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            open_key(&path)
        };
        assert!(put(&[7; 16], 0o600).is_ok());
        assert!(put(&[7; 15], 0o600).unwrap_err().to_string().contains("15 bytes"));
        assert!(put(&[7; 16], 0o640).unwrap_err().to_string().contains("chmod 600"));
    }
}
