//! The programs that are compared.

mod candle;
mod onnx;
mod onnx_runtime;
mod runtime;
mod tract;

use std::path::Path;

use anyhow::Result;
use sog_runtime::policy::PolicyFile;

/// A program with the network of a policy file.
pub(crate) trait Engine {
    /// What it is, with its version.
    fn name(&self) -> String;

    /// Action mean `[A]` of an observation `[S]` under a code `[Z]`.
    fn infer(&mut self, obs: &[f32], code: &[f32], action: &mut [f32]) -> Result<()>;
}

/// Every engine with the network of `file`, whose bytes are `bytes`; the runtime is the first.
pub(crate) fn all(
    file: &PolicyFile,
    bytes: &[u8],
    onnx_runtime: Option<&Path>,
) -> Result<Vec<Box<dyn Engine>>> {
    let model = onnx::model(file);
    let mut engines: Vec<Box<dyn Engine>> = vec![
        Box::new(runtime::Runtime::new(file)),
        Box::new(tract::Tract::new(&model)?),
        Box::new(candle::Candle::new(bytes)?),
    ];
    if let Some(library) = onnx_runtime {
        engines.push(Box::new(onnx_runtime::OnnxRuntime::new(&model, file, library)?));
    }
    Ok(engines)
}

/// Golden observation and code number `row`.
pub(crate) fn row(file: &PolicyFile, row: usize) -> (&[f32], &[f32]) {
    let (s, z) = (file.obs_dim(), file.latent_dim());
    (&file.golden.obs[row * s..][..s], &file.golden.latent[row * z..][..z])
}

/// The version of a package that this program is built with.
fn version(package: &str) -> &'static str {
    let line = format!("name = \"{package}\"\nversion = \"");
    let lock = include_str!("../../Cargo.lock");
    let rest = lock.split_once(&line).map_or("", |(_, rest)| rest);
    rest.split_once('"').map_or("?", |(version, _)| version)
}
