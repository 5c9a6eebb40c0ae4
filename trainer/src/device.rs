//! Where networks are trained: by the fused engine on the processor, or op by op on a device.

use candle_core::Device;

/// What computes the updates. The draws, and so the minibatches, are the same; the results differ
/// by rounding. A run may be resumed on the other, but then not bit for bit.
#[derive(Clone, Debug)]
pub enum Compute {
    /// The engine's fused updates on the processor.
    Engine,
    /// candle's operations on a device; rollouts, rewards and evaluations stay on the processor.
    Candle(Device),
}

impl Compute {
    /// The device of the networks that only candle has.
    pub fn device(&self) -> Device {
        match self {
            Self::Engine => Device::Cpu,
            Self::Candle(device) => device.clone(),
        }
    }
}

/// Why there is no CUDA device.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CudaError {
    /// Compiled without the feature `cuda`.
    #[error(
        "this program was built without CUDA; build one with `cargo xtask cuda`, or use \
         --device cpu"
    )]
    NotBuilt,
    /// A library is missing.
    #[error(
        "{library} cannot be loaded, which CUDA needs ({from}); install it or name its directory \
         in LD_LIBRARY_PATH, or use --device cpu"
    )]
    Library {
        /// Its name.
        library: &'static str,
        /// What it is part of.
        from: &'static str,
    },
    /// The driver refuses.
    #[error("CUDA device 0 cannot be used: {0}; use --device cpu")]
    Device(#[from] candle_core::Error),
}

/// The first CUDA device.
///
/// # Errors
/// [`CudaError`].
pub fn cuda() -> Result<Device, CudaError> {
    if !cfg!(feature = "cuda") {
        return Err(CudaError::NotBuilt);
    }
    libraries_present()?;
    Ok(Device::new_cuda(0)?)
}

/// A program that is linked with CUDA's libraries does not start without them.
#[cfg(not(feature = "cuda-loading"))]
fn libraries_present() -> Result<(), CudaError> {
    Ok(())
}

/// One that loads them panics at the first call where one is missing: look for them before.
#[cfg(feature = "cuda-loading")]
#[allow(unsafe_code)] // Loading a library runs its initialisers; these are NVIDIA's own.
fn libraries_present() -> Result<(), CudaError> {
    use cudarc::{cublas, curand, driver};
    let (from_driver, from_toolkit) = ("part of the NVIDIA driver", "part of the CUDA toolkit");
    // SAFETY: each looks for a library by its fixed name and takes nothing from the caller.
    let found = unsafe {
        [
            (driver::sys::is_culib_present(), "libcuda.so.1", from_driver),
            (cublas::sys::is_culib_present(), "libcublas.so", from_toolkit),
            (curand::sys::is_culib_present(), "libcurand.so", from_toolkit),
        ]
    };
    match found.into_iter().find(|(present, ..)| !present) {
        Some((_, library, from)) => Err(CudaError::Library { library, from }),
        None => Ok(()),
    }
}
