//! tract: the ONNX model, optimised for one row, in a state that lives as long as the program.

use anyhow::Result;
use tract_onnx::{pb::ModelProto, prelude::*};

use super::{Engine, version};

pub(super) struct Tract {
    state: TypedSimpleState,
    /// Observation, and code where there is one.
    inputs: usize,
}

impl Tract {
    pub(super) fn new(model: &ModelProto) -> Result<Self> {
        let plan =
            tract_onnx::onnx().model_for_proto_model(model)?.into_optimized()?.into_runnable()?;
        let inputs = plan.model().inputs.len();
        Ok(Self { state: plan.spawn()?, inputs })
    }
}

impl Engine for Tract {
    fn name(&self) -> String {
        format!("tract {}", version("tract-onnx"))
    }

    fn infer(&mut self, obs: &[f32], code: &[f32], action: &mut [f32]) -> Result<()> {
        let mut inputs = tvec!();
        for values in [obs, code].into_iter().take(self.inputs) {
            inputs.push(Tensor::from_shape(&[1, values.len()], values)?.into_tvalue());
        }
        let outputs = self.state.run(inputs)?;
        action.copy_from_slice(outputs[0].view().as_slice::<f32>()?);
        Ok(())
    }
}
