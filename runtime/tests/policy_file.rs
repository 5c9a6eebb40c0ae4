//! Policy files that must be refused, each with an error that names the cause.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;

use sog_runtime::{
    io::Random,
    policy::{
        Activation, Architecture, LatentKind, Policy, PolicyFile, PolicyWarning, Terms, example,
    },
    tensors::{self, Metadata, Tensor, TensorFile},
};

mod policies;
use policies::{mutate, without_checksum};

/// The example with a network of this form.
fn other(architecture: Architecture, activation: Activation, hidden: &[usize]) -> PolicyFile {
    policies::other(architecture, activation, hidden, LatentKind::OneHot(3))
}

fn refusal(bytes: &[u8]) -> String {
    PolicyFile::parse(bytes).expect_err("accepted a bad file").to_string()
}

/// The example with its parts changed and its checksum made good again.
fn rewritten(change: impl FnOnce(&mut BTreeMap<String, Tensor>, &mut Metadata)) -> Vec<u8> {
    rewritten_from(&example(7), change)
}

/// The same of another file.
fn rewritten_from(
    file: &PolicyFile,
    change: impl FnOnce(&mut BTreeMap<String, Tensor>, &mut Metadata),
) -> Vec<u8> {
    let bytes = file.to_bytes();
    let file = TensorFile::parse(&bytes).unwrap();
    let mut metadata = file.metadata().clone();
    metadata.remove(tensors::CHECKSUM_KEY);
    let tensor = |name: &&str| {
        let (shape, values) = (file.shape(name).unwrap(), file.f32(name).unwrap());
        (name.to_string(), Tensor::f32(&shape, &values))
    };
    let mut all = file.names().iter().map(tensor).collect();
    change(&mut all, &mut metadata);
    tensors::serialize(&all, &metadata)
}

#[test]
fn a_good_file_survives_a_round_trip() {
    let file = example(7);
    let bytes = file.to_bytes();
    assert_eq!(PolicyFile::parse(&bytes).unwrap(), file);
    assert_eq!(PolicyFile::parse(&rewritten(|_, _| {})).unwrap(), file);
}

#[test]
fn a_file_of_every_form_survives_a_round_trip_and_no_flipped_bit() {
    for architecture in [Architecture::TwoBranch, Architecture::Mlp] {
        for activation in Activation::ALL {
            for hidden in [&[9][..], &[8, 5], &[8, 5, 11]] {
                let file = other(architecture, activation, hidden);
                let bytes = file.to_bytes();
                assert_eq!(PolicyFile::open(&bytes).unwrap(), (file, None));
                for at in (0..bytes.len()).step_by(7) {
                    let mut bad = bytes.clone();
                    bad[at] ^= 1 << (at % 8);
                    assert!(PolicyFile::parse(&bad).is_err(), "byte {at} of {}", bytes.len());
                }
            }
        }
    }
}

#[test]
fn a_network_that_does_not_hang_together_is_refused_by_name() {
    let said = |key: &'static str, value: &'static str| {
        refusal(&rewritten(|_, meta| drop(meta.insert(key.to_string(), value.to_string()))))
    };
    assert!(said("arch", "lstm").contains("found `lstm`, need `two-branch` or `mlp`"));
    assert!(said("activation", "gelu").contains("found `gelu`, need `tanh`, `relu` or `elu`"));
    assert!(said("arch", "mlp").contains("`actor.layer.0.bias` is missing"));
    // The weights are tanh's.
    assert!(said("activation", "relu").contains("golden vector"));

    let deep = other(Architecture::TwoBranch, Activation::Tanh, &[8, 5, 11]);
    let without = |name: &'static str| {
        refusal(&rewritten_from(&deep, |tensors, _| drop(tensors.remove(name))))
    };
    assert!(without("actor.state.1.bias").contains("`actor.state.1.bias` is missing"));
    assert!(without("actor.state.2.bias").contains("`actor.state.2.bias` is missing"));
    let short = refusal(&rewritten_from(&deep, |tensors, _| {
        tensors.remove("actor.state.2.weight");
        tensors.remove("actor.state.2.bias");
    }));
    assert!(short.contains("`actor.latent.weight` has shape [11, 3], need [5, 3]"), "{short}");
    let numbered = refusal(&rewritten_from(&deep, |tensors, _| {
        let far = format!("actor.state.{}.bias", usize::MAX);
        tensors.insert(far, Tensor::f32(&[1], &[0.0]));
    }));
    assert!(numbered.contains("`actor.state.3.bias` is missing"), "{numbered}");

    let stack = other(Architecture::Mlp, Activation::Elu, &[8, 5]);
    let branch = refusal(&rewritten_from(&stack, |tensors, _| {
        tensors.insert("actor.latent.bias".to_string(), Tensor::f32(&[5], &[0.0; 5]));
    }));
    assert!(branch.contains("`actor.latent.bias` is not part of"), "{branch}");
    let narrow = refusal(&rewritten_from(&stack, |tensors, _| {
        let values = vec![0.0; 8 * 10];
        tensors.insert("actor.layer.0.weight".to_string(), Tensor::f32(&[8, 10], &values));
    }));
    assert!(narrow.contains("`actor.layer.0.weight` has shape [8, 10], need [8, 13]"), "{narrow}");
}

#[test]
fn a_file_without_checksum_is_accepted_and_said_to_be_one() {
    let good = example(7);
    let bytes = good.to_bytes();
    let without = without_checksum(&bytes);
    assert_eq!(PolicyFile::open(&without).unwrap(), (good, Some(PolicyWarning::NoChecksum)));
}

#[test]
fn two_terms_of_one_name_are_refused() {
    let terms = rewritten(|_, meta| {
        meta.insert("obs.terms".to_string(), "position:4,position:6".to_string());
    });
    let refused = refusal(&terms);
    assert!(refused.contains("position:4,position:6") && refused.contains("different names"));
}

#[test]
fn one_flipped_bit_is_refused_wherever_it_is() {
    let good = example(7).to_bytes();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        assert!(PolicyFile::parse(&bad).is_err(), "byte {at} of {}", good.len());
    }
}

#[test]
fn a_truncated_file_is_refused_as_such() {
    let good = example(7).to_bytes();
    for len in 0..good.len() {
        assert!(refusal(&good[..len]).contains("truncated"), "{len} bytes");
    }
}

#[test]
fn a_weight_that_is_not_a_number_is_named_with_its_place() {
    for value in [f32::NAN, f32::INFINITY] {
        let bytes = rewritten(|tensors, _| {
            let tensor = tensors.get_mut("actor.state.1.weight").unwrap();
            tensor.bytes[5 * 4..6 * 4].copy_from_slice(&value.to_le_bytes());
        });
        let refusal = refusal(&bytes);
        assert!(refusal.contains("`actor.state.1.weight` holds"), "{refusal}");
        assert!(refusal.contains("at index 5"), "{refusal}");
    }
}

#[test]
fn a_changed_weight_breaks_the_golden_vectors() {
    let bytes = rewritten(|tensors, _| {
        let tensor = tensors.get_mut("actor.mean.weight").unwrap();
        tensor.bytes[0..4].copy_from_slice(&0.3f32.to_le_bytes());
    });
    assert!(refusal(&bytes).contains("golden vector"), "{}", refusal(&bytes));
}

#[test]
fn a_later_schema_is_named() {
    let bytes = rewritten(|_, metadata| {
        metadata.insert("schema".to_string(), "sog.policy/2".to_string());
    });
    let needed = "schema is `sog.policy/2`, need `sog.policy/1`; use the runtime of that version";
    assert!(refusal(&bytes).contains(needed), "{}", refusal(&bytes));
}

#[test]
fn terms_in_another_order_are_refused_with_both_orders() {
    let mut file = example(7);
    file.contract.obs_terms = Terms::new(&[("position", 4), ("velocity", 6)]);
    file.seal(2);
    let parsed = PolicyFile::parse(&file.to_bytes()).unwrap();
    let mut robot = file.contract.clone();
    robot.obs_terms = Terms::new(&[("velocity", 6), ("position", 4)]);
    let text = parsed.contract.check_fits(&robot).unwrap_err().to_string();
    assert!(text.contains("position:4,velocity:6") && text.contains("velocity:6,position:4"));
}

#[test]
fn what_is_missing_strange_or_misshapen_is_named() {
    let without = rewritten(|tensors, _| drop(tensors.remove("obs.var")));
    assert!(refusal(&without).contains("`obs.var` is missing"));
    let strange = rewritten(|tensors, _| {
        tensors.insert("actor.extra".to_string(), Tensor::f32(&[1], &[0.0]));
    });
    assert!(refusal(&strange).contains("`actor.extra` is not part of"));
    let misshapen = rewritten(|tensors, _| {
        tensors.insert("obs.mean".to_string(), Tensor::f32(&[9], &[0.0; 9]));
    });
    assert!(refusal(&misshapen).contains("`obs.mean` has shape [9], need [10]"));
    let entry = rewritten(|_, metadata| drop(metadata.remove("dt")));
    assert!(refusal(&entry).contains("metadata `dt` is missing"));
    let negative = rewritten(|_, metadata| {
        metadata.insert("dt".to_string(), "-1".to_string());
    });
    assert!(refusal(&negative).contains("need a positive number"));
    let crossed = rewritten(|tensors, _| {
        tensors.insert("action.low".to_string(), Tensor::f32(&[2], &[2.0, -1.0]));
    });
    assert!(refusal(&crossed).contains("less than `action.high`"));
}

/// Files mutated from a good one: none panics, and what is accepted is what was written.
///
/// `SOG_FUZZ_CASES` sets their number.
#[test]
fn no_mutated_file_panics_or_is_taken_for_a_good_one() {
    let cases = std::env::var("SOG_FUZZ_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(20_000);
    let goods = [
        example(7),
        other(Architecture::Mlp, Activation::Relu, &[9]),
        other(Architecture::TwoBranch, Activation::Elu, &[8, 5, 7]),
    ];
    let all: Vec<Vec<u8>> = goods.iter().map(PolicyFile::to_bytes).collect();
    let mut random = Random::new(0x5347);
    let mut accepted = 0;
    for case in 0..cases {
        let (good, bytes) = (&goods[case % goods.len()], &all[case % goods.len()]);
        let mut bad = bytes.clone();
        for _ in 0..1 + random.below(4) {
            mutate(&mut bad, &mut random);
        }
        if let Ok(file) = PolicyFile::parse(&bad) {
            // The checksum covers everything but the layout of the header.
            assert_eq!(&file, good, "case {case}");
            let _ = Policy::new(&file);
            accepted += 1;
        }
    }
    println!("{cases} mutated files, {accepted} of them equal to the good one in content");
}
