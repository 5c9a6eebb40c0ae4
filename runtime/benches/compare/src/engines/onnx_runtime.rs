//! ONNX Runtime by its C interface: the ONNX model, all optimisations, one thread, the inputs and
//! the output in tensors that live as long as the program.

use std::path::Path;

use anyhow::Result;
use ort::{
    environment::Environment,
    memory::Allocator,
    session::{
        HasSelectedOutputs, OutputSelector, RunOptions, Session, builder::GraphOptimizationLevel,
    },
    value::Tensor,
};
use prost::Message;
use sog_runtime::policy::PolicyFile;
use tract_onnx::pb::ModelProto;

use super::{Engine, onnx};

pub(super) struct OnnxRuntime {
    version: String,
    session: Session,
    options: RunOptions<HasSelectedOutputs>,
    obs: Tensor<f32>,
    code: Option<Tensor<f32>>,
    /// Outlives the session.
    _environment: Environment,
}

impl OnnxRuntime {
    pub(super) fn new(model: &ModelProto, file: &PolicyFile, library: &Path) -> Result<Self> {
        let environment = ort::init_from(library)?.build()?;
        let memory = Allocator::default();
        let row = |width: usize| Tensor::<f32>::new(&memory, [1, width]);
        let output =
            OutputSelector::no_default().preallocate(onnx::ACTION, row(file.action_dim())?);
        Ok(Self {
            version: version(library),
            session: session(&environment, &model.encode_to_vec())?,
            options: RunOptions::new()?.with_outputs(output.with(onnx::ACTION)),
            obs: row(file.obs_dim())?,
            code: match file.latent_dim() {
                0 => None,
                z => Some(row(z)?),
            },
            _environment: environment,
        })
    }
}

impl Engine for OnnxRuntime {
    fn name(&self) -> String {
        format!("ONNX Runtime {}", self.version)
    }

    fn infer(&mut self, obs: &[f32], code: &[f32], action: &mut [f32]) -> Result<()> {
        self.obs.extract_tensor_mut().1.copy_from_slice(obs);
        let outputs = match &mut self.code {
            None => self.session.run_with_options(ort::inputs![&self.obs], &self.options)?,
            Some(own) => {
                own.extract_tensor_mut().1.copy_from_slice(code);
                let inputs = ort::inputs![&self.obs, &*own];
                self.session.run_with_options(inputs, &self.options)?
            }
        };
        action.copy_from_slice(outputs[onnx::ACTION].try_extract_tensor::<f32>()?.1);
        Ok(())
    }
}

fn session(environment: &Environment, model: &[u8]) -> ort::Result<Session> {
    Session::builder(environment)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_intra_threads(1)?
        .with_inter_threads(1)?
        .commit_from_memory(model)
}

/// What follows `.so.` in the name of the library.
fn version(library: &Path) -> String {
    let name = library.file_name().unwrap_or_default().to_string_lossy();
    name.split_once(".so.").map(|(_, version)| version.to_string()).unwrap_or_default()
}
