//! Demonstration files: what is written is read, and what is wrong is named.

use super::{info, recorded, refusal, written};
use crate::data::{DataError, DemoFile, Labels};
use proptest::prelude::*;
use sog_runtime::tensors::{self, Metadata, Tensor, TensorFile};
use std::collections::BTreeMap;

/// A change to the tensors and metadata of a file.
type Change = Box<dyn FnOnce(&mut BTreeMap<String, Tensor>, &mut Metadata)>;

#[test]
fn a_recording_is_the_same_byte_for_byte_and_reads_back() {
    let file = recorded(2, 5);
    let bytes = file.to_bytes(&info());
    assert_eq!(bytes, recorded(2, 5).to_bytes(&info()));
    assert_ne!(bytes, recorded(2, 6).to_bytes(&info()));
    let mut read = DemoFile::parse(&bytes, &info()).unwrap();
    assert_eq!(read.demonstrations.sha256().len(), 64);
    read.demonstrations.sha256.clear();
    assert_eq!(read, file);
    assert!(read.provenance.mean_return.iter().all(|&r| r > 996.0));
}

#[test]
fn modes_are_in_no_telling_order_and_each_has_its_share() {
    let file = recorded(20, 1);
    let Some(Labels::Modes(modes)) = &file.labels else { panic!("no modes") };
    for mode in 0..3 {
        assert_eq!(modes.iter().filter(|&&m| m == mode).count(), 20);
    }
    let changes = modes.windows(2).filter(|w| w[0] != w[1]).count();
    assert!(changes > 20, "{modes:?}");
}

#[test]
fn a_minimal_file_with_ragged_lengths_is_read_without_its_padding() {
    let file = DemoFile::parse(&written(|_, _| ()), &info()).unwrap();
    let d = &file.demonstrations;
    assert_eq!((d.len(), d.total_rows()), (2, 5));
    assert_eq!((d.rows(0), d.rows(1)), (0..3, 3..5));
    assert_eq!(d.actions_of(1), [6.0, 7.0, 8.0, 9.0]);
    assert_eq!(d.observations_of(1)[0], 30.0);
}

#[test]
fn padding_may_hold_anything() {
    let bytes = written(|t, _| {
        let mut numbers = vec![1.0; 60];
        numbers[50..].fill(f32::NAN);
        t.insert("observations".into(), Tensor::f32(&[2, 3, 10], &numbers));
    });
    assert!(DemoFile::parse(&bytes, &info()).is_ok());
}

#[test]
fn what_is_wrong_is_named() {
    let nan = refusal(|t, _| {
        let mut numbers = vec![1.0; 12];
        numbers[7] = f32::NAN;
        t.insert("actions".into(), Tensor::f32(&[2, 3, 2], &numbers));
    });
    assert!(nan.starts_with("`actions` holds NaN in trajectory 1, step 0, component 1"), "{nan}");
    let cases: [(&str, Change); 12] = [
        ("length 0", Box::new(|t, _| drop(t.insert("lengths".into(), Tensor::u32(&[2], &[3, 0]))))),
        ("length 4", Box::new(|t, _| drop(t.insert("lengths".into(), Tensor::u32(&[2], &[4, 2]))))),
        ("`lengths`", Box::new(|t, _| drop(t.insert("lengths".into(), Tensor::u32(&[1], &[3]))))),
        ("mode 3", Box::new(|t, _| drop(t.insert("modes".into(), Tensor::u32(&[2], &[0, 3]))))),
        ("`modes`", Box::new(|t, _| drop(t.insert("modes".into(), Tensor::u32(&[1], &[0]))))),
        ("`actions` is missing", Box::new(|t, _| drop(t.remove("actions")))),
        (
            "`actions` has shape [2, 3, 3], need [2, 3, 2]",
            Box::new(|t, _| {
                drop(t.insert("actions".into(), Tensor::f32(&[2, 3, 3], &[0.0; 18])));
            }),
        ),
        (
            "need [N, T, 10]",
            Box::new(|t, _| {
                drop(t.insert("observations".into(), Tensor::f32(&[2, 3, 9], &[0.0; 54])));
            }),
        ),
        (
            "has type F64",
            Box::new(|t, _| {
                drop(t.insert("actions".into(), Tensor::f64(&[2, 3, 2], &[0.0; 12])));
            }),
        ),
        ("`hopper`", Box::new(|_, m| drop(m.insert("task".into(), "hopper".into())))),
        (
            "sog.demonstrations/2",
            Box::new(|_, m| {
                drop(m.insert("schema".into(), "sog.demonstrations/2".into()));
            }),
        ),
        ("`obs.terms`", Box::new(|_, m| drop(m.insert("obs.terms".into(), "position:10".into())))),
    ];
    for (needle, change) in cases {
        let message = refusal(change);
        assert!(message.contains(needle), "`{needle}` is not in: {message}");
    }
    let none = refusal(|t, _| {
        t.insert("observations".into(), Tensor::f32(&[0, 3, 10], &[]));
        t.insert("actions".into(), Tensor::f32(&[0, 3, 2], &[]));
        t.insert("lengths".into(), Tensor::u32(&[0], &[]));
    });
    assert!(none.contains("no trajectory"), "{none}");
}

#[test]
fn subsampling_keeps_every_stride_th_pair_of_each_trajectory() {
    let d = recorded(1, 0).demonstrations;
    let few = d.subsampled(20);
    assert_eq!((few.len(), few.total_rows()), (3, 150));
    assert_eq!(few.actions_of(1)[..2], d.actions_of(1)[2..4]);
    assert_eq!(few.actions_of(1)[2..4], d.actions_of(1)[42..44]);
}

#[test]
fn moments_are_those_of_all_rows() {
    let d = DemoFile::parse(&written(|_, _| ()), &info()).unwrap().demonstrations;
    let (mean, var) = d.obs_moments();
    assert_eq!((mean[0], var[0]), (20.0, 200.0));
}

proptest! {
    #[test]
    fn damaged_bytes_never_panic_and_never_pass(at in any::<prop::sample::Index>(), flip in 1u8..) {
        let mut bytes = written(|_, _| ());
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        // Damage is noticed unless it hits the checksum's own key.
        let unchecked = TensorFile::parse(&bytes)
            .is_ok_and(|f| !f.metadata().contains_key(tensors::CHECKSUM_KEY));
        prop_assert!(DemoFile::parse(&bytes, &info()).is_err() || unchecked);
    }
}

#[test]
fn demonstrations_are_picked_cut_merged_and_split() {
    let file = recorded(5, 3);
    let picked = file.picked(&[(4, 0..7), (1, 0..3), (2, 5..5)]).unwrap();
    assert_eq!((picked.demonstrations.len(), picked.demonstrations.total_rows()), (2, 10));
    assert_eq!(picked.demonstrations.actions_of(0), &file.demonstrations.actions_of(4)[..14]);
    let modes = |file: &DemoFile| match &file.labels {
        Some(Labels::Modes(modes)) => modes.clone(),
        _ => panic!("no modes"),
    };
    assert_eq!(modes(&picked), [modes(&file)[4], modes(&file)[1]]);
    assert!(matches!(file.picked(&[(0, 2..2)]), Err(DataError::Empty)));

    let merged = DemoFile::merged(&[picked.clone(), file.clone()]).unwrap();
    assert_eq!(merged.demonstrations.len(), 17);
    assert_eq!(merged.demonstrations.observations_of(2), file.demonstrations.observations_of(0));
    assert_eq!(modes(&merged)[2..], modes(&file));
    let read = DemoFile::parse(&merged.to_bytes(&info()), &info()).unwrap();
    assert_eq!(read.demonstrations.total_rows(), 10 + file.demonstrations.total_rows());

    let (stay, held) = file.split(0.2, 7);
    assert_eq!((stay.len(), held.len()), (12, 3));
    let mut held_modes: Vec<u32> = held.iter().map(|&n| modes(&file)[n]).collect();
    held_modes.sort_unstable();
    assert_eq!(held_modes, [0, 1, 2]);
    let mut all = [stay.clone(), held.clone()].concat();
    all.sort_unstable();
    assert_eq!(all, (0..15).collect::<Vec<_>>());
    assert_eq!(file.split(0.2, 7), (stay, held.clone()));
    assert!((8..20).any(|seed| file.split(0.2, seed).1 != held));
}
