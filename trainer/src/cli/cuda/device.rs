//! What `--device` takes.

use std::{fmt, str::FromStr};

use anyhow::Result;

use crate::device::{Compute, cuda};

/// Where the networks are trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum DeviceArg {
    /// The fused engine on the processor.
    Cpu,
    /// An NVIDIA device by its number; an error where there is none.
    Cuda(usize),
    /// The first CUDA device where there is one, else the processor.
    Auto,
    /// What runs on CUDA, on the processor: slow, for checking the one against the other.
    Candle,
}

impl DeviceArg {
    /// Takes the device and says which, where that is not plain from the command line.
    pub(in crate::cli) fn open(self) -> Result<Compute> {
        Ok(match self {
            Self::Cpu => Compute::Engine,
            Self::Candle => Compute::Candle(candle_core::Device::Cpu),
            Self::Cuda(index) => Compute::Candle(cuda(index)?),
            Self::Auto => match cuda(0) {
                Ok(device) => {
                    eprintln!("device: cuda");
                    Compute::Candle(device)
                }
                Err(error) => {
                    eprintln!("device: cpu ({error})");
                    Compute::Engine
                }
            },
        })
    }
}

impl FromStr for DeviceArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "cpu" => Ok(Self::Cpu),
            "auto" => Ok(Self::Auto),
            "candle" => Ok(Self::Candle),
            "cuda" => Ok(Self::Cuda(0)),
            _ => text
                .strip_prefix("cuda:")
                .and_then(|n| n.parse().ok())
                .map(Self::Cuda)
                .ok_or_else(|| {
                    format!(
                        "no device is called `{text}`; there are cpu, cuda, cuda:N, auto, candle"
                    )
                }),
        }
    }
}

impl fmt::Display for DeviceArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Auto => f.write_str("auto"),
            Self::Candle => f.write_str("candle"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_named_and_numbered() {
        for text in ["cpu", "auto", "candle", "cuda:0", "cuda:7"] {
            assert_eq!(text.parse::<DeviceArg>().unwrap().to_string(), text);
        }
        assert_eq!("cuda".parse(), Ok(DeviceArg::Cuda(0)));
        for text in ["cuda:", "cuda:x", "cuda:-1", "gpu"] {
            assert!(text.parse::<DeviceArg>().unwrap_err().contains("cuda:N"), "{text}");
        }
    }
}
