//! Work on a device that is repeated with other numbers: its operations are asked for once and then
//! repeated as one (a CUDA graph), and what it works on is brought there in one transfer.
//!
//! An update of a small network is a hundred operations of a few microseconds; asking for each takes the
//! processor longer than the device needs for it.

use candle_core::{CpuStorage, DType, Device, InplaceOp1, Layout, Result, Shape, Tensor};

/// Places of the parts begin at multiples of this many numbers, which products are fast at.
const ALIGNED: usize = 32;

/// Numbers that are brought to a device before each repetition, side by side in one tensor.
pub struct Inputs {
    buffer: Tensor,
    staged: Vec<f32>,
    starts: Vec<usize>,
}

impl Inputs {
    /// Room for parts of these lengths on `device`.
    ///
    /// # Errors
    /// If the device fails.
    pub fn new(lengths: &[usize], device: &Device) -> Result<Self> {
        let mut starts = vec![];
        let mut end = 0;
        for length in lengths {
            starts.push(end);
            end += length.next_multiple_of(ALIGNED);
        }
        let buffer = Tensor::zeros(end.max(1), DType::F32, device)?;
        Ok(Self { staged: vec![0.0; end.max(1)], buffer, starts })
    }

    /// Part `i`, whatever it will be, as a tensor of this shape.
    ///
    /// # Errors
    /// If the shape is larger than the part.
    pub fn view(&self, i: usize, shape: impl Into<Shape>) -> Result<Tensor> {
        let shape = shape.into();
        self.buffer.narrow(0, self.starts[i], shape.elem_count())?.reshape(shape)
    }

    /// Brings the parts there.
    ///
    /// # Errors
    /// If there are more or longer ones than there is room for, or the device fails.
    pub fn upload(&mut self, parts: &[&[f32]]) -> Result<()> {
        let parts: Vec<&[&[f32]]> = parts.iter().map(std::slice::from_ref).collect();
        self.upload_pieces(&parts)
    }

    /// The same with parts that lie in pieces.
    ///
    /// # Errors
    /// As [`Inputs::upload`].
    pub fn upload_pieces(&mut self, parts: &[&[&[f32]]]) -> Result<()> {
        for (i, (pieces, &start)) in parts.iter().zip(&self.starts).enumerate() {
            let end = self.starts.get(i + 1).copied().unwrap_or(self.staged.len());
            let length: usize = pieces.iter().map(|piece| piece.len()).sum();
            if length > end - start {
                candle_core::bail!("part {i} has {length} numbers, at most {} fit", end - start);
            }
            let mut place = &mut self.staged[start..];
            for piece in *pieces {
                let (here, rest) = place.split_at_mut(piece.len());
                here.copy_from_slice(piece);
                place = rest;
            }
        }
        self.buffer.inplace_op1(&Upload(&self.staged))
    }
}

/// Replaces a tensor's numbers.
struct Upload<'a>(&'a [f32]);

impl InplaceOp1 for Upload<'_> {
    fn name(&self) -> &'static str {
        "upload"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, _: &Layout) -> Result<()> {
        match storage {
            CpuStorage::F32(values) => values.copy_from_slice(self.0),
            _ => candle_core::bail!("only f32 is uploaded"),
        }
        Ok(())
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, storage: &mut candle_core::CudaStorage, _: &Layout) -> Result<()> {
        let device = storage.device.clone();
        device.memcpy_htod(self.0, storage.as_cuda_slice_mut::<f32>()?)
    }
}

/// What work of one shape needs on a device, kept for the next of that shape.
pub struct Places<K, P> {
    all: Vec<(K, P)>,
}

/// Shapes that are kept: those of a code search, one for each coordinate, or whole and last minibatches.
const PLACES: usize = 64;

impl<K, P> Default for Places<K, P> {
    fn default() -> Self {
        Self { all: vec![] }
    }
}

impl<K: PartialEq, P> Places<K, P> {
    /// The place for work of this shape, made by `make` if there is none.
    ///
    /// # Errors
    /// What `make` says.
    pub fn of(&mut self, shape: K, make: impl FnOnce() -> Result<P>) -> Result<&mut P> {
        let at = match self.all.iter().position(|(other, _)| *other == shape) {
            Some(at) => at,
            None => {
                if self.all.len() == PLACES {
                    self.all.remove(0);
                }
                self.all.push((shape, make()?));
                self.all.len() - 1
            }
        };
        Ok(&mut self.all[at].1)
    }

    /// The place for work of this shape, if there is one.
    pub fn get(&mut self, shape: &K) -> Option<&mut P> {
        self.all.iter_mut().find(|(other, _)| other == shape).map(|(_, place)| place)
    }
}

/// Operations that are the same each time: on the same tensors, of the same shapes, with nothing read back
/// between them.
#[derive(Default)]
pub struct Recorded {
    state: State,
}

#[derive(Default)]
enum State {
    /// Never done; the first time brings kernels and constants to the device.
    #[default]
    New,
    /// Done, operation by operation, this many times since it could last be recorded.
    Done,
    #[cfg(feature = "cuda")]
    Graph(cuda::Graph),
    /// The device does not record it.
    #[cfg(feature = "cuda")]
    Plain,
}

impl Recorded {
    /// Does the work. On a CUDA device it is asked for operation by operation the first time and recorded the
    /// second; from then on what was recorded is repeated and `work` is not called.
    ///
    /// # Errors
    /// What `work` says, or if the device fails.
    pub fn run(&mut self, device: &Device, mut work: impl FnMut() -> Result<()>) -> Result<()> {
        #[cfg(feature = "cuda")]
        if let Device::Cuda(device) = device {
            return self.run_on(device, work);
        }
        let _ = device;
        self.state = State::Done;
        work()
    }
}

#[cfg(feature = "cuda")]
#[allow(unsafe_code)]
mod cuda {
    use candle_core::{
        CudaDevice, Error, Result,
        cuda_backend::cudarc::driver::{
            CudaGraph,
            sys::{CUgraphInstantiate_flags as Flags, CUstreamCaptureMode as Mode},
        },
    };

    use super::{Recorded, State};

    pub(super) struct Graph(CudaGraph);

    // SAFETY: a graph may be used by any thread, by one at a time; it is only reached through `&mut`.
    unsafe impl Send for Graph {}
    // SAFETY: as above; there is nothing to be done with `&Graph`.
    unsafe impl Sync for Graph {}

    impl Recorded {
        pub(super) fn run_on(
            &mut self,
            device: &CudaDevice,
            mut work: impl FnMut() -> Result<()>,
        ) -> Result<()> {
            // Shapes and strides that kernels read are kept on the device: while operations are recorded
            // nothing can be brought there.
            let _kept = device.enable_cuda_graph_htod_cache();
            match &mut self.state {
                State::Graph(graph) => return graph.0.launch().map_err(Error::wrap),
                State::Plain => return work(),
                State::New => {
                    self.state = State::Done;
                    return work();
                }
                State::Done => {}
            }
            let stream = device.cuda_stream();
            stream.begin_capture(Mode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL).map_err(Error::wrap)?;
            let said = work();
            let flags = Flags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH;
            let graph = stream.end_capture(flags);
            match (said, graph) {
                (Ok(()), Ok(Some(graph))) => {
                    graph.launch().map_err(Error::wrap)?;
                    self.state = State::Graph(Graph(graph));
                    Ok(())
                }
                (said, graph) => {
                    let why = said.err().map(|error| error.to_string());
                    let why = why.or(graph.err().map(|error| error.to_string()));
                    log::warn!(
                        "this device does not record the operations of an update, which will be slower: {}",
                        why.unwrap_or_default()
                    );
                    self.state = State::Plain;
                    work()
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_show_what_was_uploaded_last() {
        let mut inputs = Inputs::new(&[3, 40, 2], &Device::Cpu).unwrap();
        let (a, b) = (inputs.view(0, (3, 1)).unwrap(), inputs.view(2, 2).unwrap());
        for k in [1.0f32, 5.0] {
            inputs.upload(&[&[k, 2.0, 3.0], &[9.0; 40], &[k + 1.0, 7.0]]).unwrap();
            assert_eq!(a.to_vec2::<f32>().unwrap(), [[k], [2.0], [3.0]]);
            assert_eq!(b.to_vec1::<f32>().unwrap(), [k + 1.0, 7.0]);
        }
        let error = inputs.upload(&[&[0.0; 33]]).unwrap_err().to_string();
        assert!(error.contains("part 0 has 33 numbers, at most 32 fit"), "{error}");
    }
}
