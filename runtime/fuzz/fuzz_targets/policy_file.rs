//! Any bytes as a policy file: never a panic, and what is accepted evaluates.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sog_runtime::policy::{Policy, PolicyFile};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(file) = PolicyFile::parse(bytes) {
        let policy = Policy::new(&file);
        let (obs, latent) = (vec![0.5; policy.obs_dim()], vec![0.5; policy.latent_dim()]);
        let mut action = vec![0.0; policy.action_dim()];
        policy.mean_actions(&mut policy.workspace(1), &obs, &latent, &mut action);
        assert_eq!(PolicyFile::parse(&file.to_bytes()).expect("our own file"), file);
    }
});
