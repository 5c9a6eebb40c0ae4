//! Training runs end to end, small: determinism, resumption, odd demonstrations.
#![allow(clippy::unwrap_used)] // a test may panic

use std::path::Path;

use sog_rl::run::Run;
use sog_sim::{
    task::{TaskId, TaskInfo},
    tasks::{self, TaskMaker, TaskOptions},
};
use sog_trainer::{
    config::{Algorithm, TrainConfig},
    data::{
        Demonstrations,
        record::{CirclesExpert, RecordOptions, record},
    },
    train::{Job, POLICY_FILE, train},
};

fn info() -> TaskInfo {
    tasks::info(TaskId::Circles)
}

fn demos(episodes_per_mode: usize) -> Demonstrations {
    let maker = TaskMaker::new(TaskId::Circles, &TaskOptions::default()).unwrap();
    let options = RecordOptions { episodes_per_mode, seed: 1 };
    record(&maker, &info(), &CirclesExpert, &options, &|| ()).unwrap().demonstrations
}

fn config(algorithm: Algorithm) -> TrainConfig {
    let mut config = TrainConfig::defaults(&info(), algorithm);
    config.cloning.updates = 60;
    config.cloning.log_interval = 10;
    config.cloning.checkpoint_interval = 25;
    config.cloning.attempt_updates = 10;
    config.adversarial.total_steps = 3000;
    config.adversarial.eval_interval = 2;
    config.adversarial.checkpoint_interval = 2;
    (config.ppo.envs, config.ppo.steps) = (4, 128);
    config.discriminator.warmup_passes = 2;
    config.vae_gail.updates = 5;
    config
}

/// Trains in `dir` and returns the bytes of the policy file.
fn trained(dir: &Path, config: &TrainConfig, demos: &Demonstrations) -> Vec<u8> {
    let (mut run, config) = Run::create_or_resume(dir, config).unwrap();
    let maker = TaskMaker::new(TaskId::Circles, &TaskOptions::default()).unwrap();
    let job = Job { config: &config, maker: &maker, demos, start: None, progress: &|_, _, _| () };
    train(&mut run, job).unwrap();
    std::fs::read(dir.join(POLICY_FILE)).unwrap()
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_seed_others() {
    let demos = demos(2);
    let temp = tempfile::tempdir().unwrap();
    let at = |name: &str| temp.path().join(name);
    let config = config(Algorithm::SogBc);
    let first = trained(&at("a"), &config, &demos);
    assert_eq!(first, trained(&at("b"), &config, &demos));
    let other = TrainConfig { seed: 1, ..config };
    assert_ne!(first, trained(&at("c"), &other, &demos));
}

#[test]
fn adversarial_runs_resume_to_the_same_bytes() {
    let demos = demos(2);
    for algorithm in [Algorithm::Gail, Algorithm::SogGail, Algorithm::InfoGail, Algorithm::VaeGail]
    {
        let temp = tempfile::tempdir().unwrap();
        let config = config(algorithm);
        let whole = trained(temp.path(), &config, &demos);
        let lost = temp.path().join("checkpoints/000000003072.safetensors");
        std::fs::remove_file(lost).unwrap();
        assert_eq!(trained(temp.path(), &config, &demos), whole, "{algorithm}");
        let text = std::fs::read_to_string(temp.path().join("metrics.jsonl")).unwrap();
        assert!(text.contains("discriminator/slope"));
    }
}

#[test]
fn a_run_that_lost_its_last_checkpoint_resumes_to_the_same_bytes() {
    let demos = demos(2);
    let temp = tempfile::tempdir().unwrap();
    let config = config(Algorithm::SogBc);
    let whole = trained(temp.path(), &config, &demos);
    let lost = temp.path().join("checkpoints/000000000060.safetensors");
    std::fs::remove_file(lost).unwrap();
    let metrics = std::fs::read_to_string(temp.path().join("metrics.jsonl")).unwrap();
    assert_eq!(trained(temp.path(), &config, &demos), whole);
    let again = std::fs::read_to_string(temp.path().join("metrics.jsonl")).unwrap();
    assert_eq!(metrics.lines().count(), again.lines().count());
}

#[test]
fn one_trajectory_and_more_codes_than_trajectories_are_sound() {
    let whole = demos(1);
    let temp = tempfile::tempdir().unwrap();
    for (name, demos) in [("three", whole.clone()), ("one", whole.subsampled(400))] {
        let mut config = config(Algorithm::SogBc);
        config.latent = "one-hot:8".to_string();
        trained(&temp.path().join(name), &config, &demos);
    }
}

#[test]
fn behaviour_cloning_needs_no_code() {
    let temp = tempfile::tempdir().unwrap();
    trained(temp.path(), &config(Algorithm::Bc), &demos(1));
}
