//! Part `machine`: device, driver, libraries, processor; and how long the first use takes.

use std::{fs, process::Command, time::Instant};

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use serde_json::{Value, json};

use super::part::Place;

/// What `nvidia-smi` is asked.
const QUESTIONS: [(&str, &str); 5] = [
    ("device", "name"),
    ("driver", "driver_version"),
    ("compute capability", "compute_cap"),
    ("memory", "memory.total"),
    ("clock of its processors, at most", "clocks.max.sm"),
];

/// Libraries whose places are of interest.
const LIBRARIES: [&str; 5] =
    ["libcuda.so", "libcublas.so", "libcublasLt.so", "libcurand.so", "libmujoco"];

pub(super) fn run(place: &Place) -> Result<()> {
    let tell = |what: &str, value: Value| place.tell(what, None, &[("value", value)]);
    tell("processor", json!(processor()))?;
    tell("threads", json!(rayon::current_num_threads()))?;
    for (what, question) in QUESTIONS {
        if let Some(answer) = smi(question) {
            tell(what, json!(answer))?;
        }
    }
    let (start, compute) = (Instant::now(), place.device().open()?);
    let device = compute.device();
    tell("opened in s", json!(start.elapsed().as_secs_f64()))?;
    for (what, first) in [("first use in s", true), ("the same again in s", false)] {
        let (start, sum) = (Instant::now(), a_bit_of_everything(&device)?);
        let good = first.then_some((sum - 26.0).abs() < 1e-3);
        place.tell(what, good, &[("value", json!(start.elapsed().as_secs_f64()))])?;
    }
    for library in loaded() {
        tell("library", json!(library))?;
    }
    Ok(())
}

/// Uses the kernels that updates use, the product among them; 26.
fn a_bit_of_everything(device: &Device) -> candle_core::Result<f32> {
    let x = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0], (2, 2), device)?;
    let y = x.matmul(&x.t()?.contiguous()?)?;
    let masked = y.gt(7.0)?.to_dtype(DType::F32)?;
    let one = (masked.sum_all()? / 3.0)?.tanh()?.clamp(-2.0, 2.0)?.exp()?.log()?.sqr()?.sqrt()?;
    let one = (one.clone() / one)?;
    // 5 + 11 + 11 + 25, halved
    (y.sum_all()? * 0.5)?.broadcast_mul(&one)?.to_scalar()
}

fn smi(question: &str) -> Option<String> {
    let query = format!("--query-gpu={question}");
    let output =
        Command::new("nvidia-smi").args([&query, "--format=csv,noheader"]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    output.status.success().then(|| lines.join(", "))
}

fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split(':').nth(1));
    model.unwrap_or(std::env::consts::ARCH).trim().to_string()
}

/// Names of the libraries in use, as they lie on the disk.
fn loaded() -> Vec<String> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let mut paths: Vec<&str> =
        maps.lines().filter_map(|line| line.split_whitespace().nth(5)).collect();
    paths.retain(|path| LIBRARIES.iter().any(|library| path.contains(library)));
    paths.sort_unstable();
    paths.dedup();
    paths.into_iter().map(str::to_string).collect()
}
