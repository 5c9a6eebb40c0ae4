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
    /// There are fewer devices.
    #[error(
        "there is no CUDA device {index}: {count} can be seen here, numbered from 0; take another \
         one, see that CUDA_VISIBLE_DEVICES hides none, or use --device cpu"
    )]
    NoSuchDevice {
        /// The device asked for.
        index: usize,
        /// How many there are.
        count: usize,
    },
    /// The driver refuses.
    #[error("CUDA device {index} cannot be used: {}; or use --device cpu", explain(.cause))]
    Device {
        /// The device asked for.
        index: usize,
        /// What the driver says; told with the error, so not its source.
        cause: candle_core::Error,
    },
}

/// CUDA device number `index`, counted from 0.
///
/// # Errors
/// [`CudaError`].
pub fn cuda(index: usize) -> Result<Device, CudaError> {
    if !cfg!(feature = "cuda") {
        return Err(CudaError::NotBuilt);
    }
    libraries_present()?;
    open(index)
}

#[cfg(not(feature = "cuda"))]
fn open(_: usize) -> Result<Device, CudaError> {
    Err(CudaError::NotBuilt)
}

/// With a stream of its own, which all threads share, and without the events that order streams
/// among each other: candle records two for each tensor otherwise.
#[cfg(feature = "cuda")]
#[allow(unsafe_code)]
fn open(index: usize) -> Result<Device, CudaError> {
    use candle_core::cuda_backend::cudarc::driver::CudaContext;
    let failed = |cause| CudaError::Device { index, cause };
    let count = CudaContext::device_count().map_err(|e| failed(candle_core::Error::wrap(e)))?;
    let count = usize::try_from(count).unwrap_or(0);
    if index >= count {
        return Err(CudaError::NoSuchDevice { index, count });
    }
    let device = Device::new_cuda_with_stream(index).map_err(failed)?;
    // SAFETY: nothing in this program makes a second stream, so all work is in the order in which it
    // was asked for.
    unsafe { device.as_cuda_device().map_err(failed)?.disable_event_tracking() };
    Ok(device)
}

/// What candle says, and what to do where memory is what lacks.
pub fn explain(error: &candle_core::Error) -> String {
    let said = error.to_string();
    if said.contains("OUT_OF_MEMORY") || said.contains("ALLOC_FAILED") {
        return format!(
            "the device is out of memory ({said}); free it from other programs, or take smaller \
             minibatches, fewer samples of the code search or narrower networks; a run goes on from \
             its last checkpoint with --resume"
        );
    }
    said
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
