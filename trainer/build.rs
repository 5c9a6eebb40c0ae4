//! Where the programs find libmujoco; with the feature `cuda`, the optimiser's kernels as PTX.

#[path = "../build-support/rpath.rs"]
mod rpath;

fn main() {
    rpath::main();
    #[cfg(feature = "cuda")]
    kernels();
}

#[cfg(feature = "cuda")]
fn kernels() {
    println!("cargo::rerun-if-changed=src/nn/kernels.cu");
    let built =
        cudaforge::KernelBuilder::new().source_files(["src/nn/kernels.cu"]).arg("-O3").build_ptx();
    if let Err(error) = built {
        println!("cargo::error=cannot compile src/nn/kernels.cu: {error}");
    }
}
