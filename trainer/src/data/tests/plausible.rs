//! Numbers that are read well and cannot be meant are told.

use super::{
    foreign_task, import_error, imported_as, info, jumps, rearranged, recorded_tensors, refusal,
    table, values,
};
use crate::data::import::ImportOptions;
use crate::data::{foreign, plain};
use sog_formats::inspect::{FindingKind, inspect};
use sog_runtime::tensors::{Metadata, Tensor};
use std::collections::BTreeMap;
use std::path::Path;

/// Finding: pandas gives Fortran-ordered arrays, and safetensors writes them as they lie.
#[test]
fn finding_fortran_ordered_arrays_are_told_by_their_roughness() {
    let good = recorded_tensors(4);
    assert!(imported_as(&good, &Metadata::new(), ImportOptions::default()).is_ok());
    for name in ["observations", "actions"] {
        let [n, t, w] = good[name].shape[..] else { panic!("three axes") };
        // Each trajectory's block transposed in memory, and the whole array so.
        let blocks = rearranged(&good[name], [n, t, w], |i, j, k| {
            let at = j * w + k;
            (i * t + at % t) * w + at / t
        });
        let whole = rearranged(&good[name], [n, t, w], |i, j, k| {
            let at = (i * t + j) * w + k;
            (at % n * t + at / n % t) * w + at / (n * t)
        });
        // Two smooth components that alternate are smooth: an observation tells.
        let wrongs = if w > 2 { vec![blocks, whole] } else { vec![whole] };
        for wrong in wrongs {
            let mut all = good.clone();
            all.insert(name.to_string(), wrong);
            let error = import_error(&all);
            assert!(error.contains(name) && error.contains("ascontiguousarray"), "{error}");
            let options = ImportOptions { accept_implausible: true, ..ImportOptions::default() };
            assert!(imported_as(&all, &Metadata::new(), options).is_ok());
        }
    }
}

/// Finding: clocks that run backwards passed an import without a word.
#[test]
fn finding_an_import_says_what_is_wrong_with_the_clock() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("arm.csv");
    let notes = |time: fn(usize) -> f64| {
        let wave = |t: usize, k: usize| (0.3 * t as f64 + k as f64).sin();
        let row = |t: usize| {
            let cells: Vec<String> = (0..7).map(|k| wave(t, k).to_string()).collect();
            format!("{},{}\n", time(t), cells.join(","))
        };
        let rows: String = (0..40).map(row).collect();
        std::fs::write(&path, format!("time,p0,p1,p2,v0,v1,f0,f1\n{rows}")).unwrap();
        let options = table("[map]\npos = \"p\"\nvel = \"v\"\nforce = \"f\"");
        foreign::import_files(std::slice::from_ref(&path), &foreign_task(), &options, &|| ())
            .map(|(_, n)| n)
    };
    let even = notes(|t| 0.05 * t as f64).unwrap();
    assert!(!even.iter().any(|n| n.contains("follows") || n.contains("without")), "{even:?}");
    let back: fn(usize) -> f64 = |t| if t == 20 { 0.9 } else { 0.05 * t as f64 };
    let gap: fn(usize) -> f64 = |t| 0.05 * t as f64 + if t >= 20 { 1.0 } else { 0.0 };
    for (time, needed) in [(back, "s follows"), (gap, "s without a sample")] {
        let said = notes(time).unwrap();
        assert!(said.iter().any(|n| n.contains(needed)), "{said:?}");
    }
}

#[test]
fn finding_numbers_beyond_any_measurement_are_refused() {
    let mut all = recorded_tensors(1);
    let large: Vec<f32> = values(&all["observations"]).iter().map(|x| x * 1e20).collect();
    all.insert("observations".to_string(), Tensor::f32(&all["observations"].shape.clone(), &large));
    let error = import_error(&all);
    assert!(error.contains("`observations`") && error.contains("no measurements"), "{error}");
    let of_ours = refusal(|t, _| {
        t.insert("actions".into(), Tensor::f32(&[2, 3, 2], &[1e20; 12]));
    });
    assert!(of_ours.contains("`actions`") && of_ours.contains("1e20"), "{of_ours}");
}

#[test]
fn finding_implausible_orders_are_named_for_what_they_are() {
    let good = recorded_tensors(4);
    let [n, t, s] = good["observations"].shape[..] else { panic!("three axes") };
    // [T, N, ·], with the lengths that give it away and without.
    let mut time_major = good.clone();
    for (name, tensor) in &good {
        let w = tensor.shape[2];
        let turned = rearranged(tensor, [t, n, w], |i, j, k| (j * t + i) * w + k);
        time_major.insert(name.clone(), turned);
    }
    assert!(import_error(&time_major).contains("time-major"), "{}", import_error(&time_major));
    let lengths = Tensor::u32(&[n], &vec![t as u32; n]);
    time_major.insert("lengths".to_string(), lengths);
    let error = import_error(&time_major);
    assert!(error.contains("time-major") && error.contains("transpose"), "{error}");
    // Steps in no order.
    let mut shuffled = good.clone();
    for (name, tensor) in &good {
        let w = tensor.shape[2];
        let from = |i: usize, j: usize, k: usize| (i * t + j * 367 % t) * w + k;
        shuffled.insert(name.clone(), rearranged(tensor, [n, t, w], from));
    }
    assert!(import_error(&shuffled).contains("shuffled"), "{}", import_error(&shuffled));
    // One observation more than actions.
    let mut more = good.clone();
    let actions = &good["actions"];
    let short = rearranged(actions, [n, t - 1, 2], |i, j, k| (i * t + j) * 2 + k);
    more.insert("actions".to_string(), short);
    let error = import_error(&more);
    assert!(error.contains("one observation more") && error.contains("[:, :-1]"), "{error}");
    // [N, S, T].
    let mut turned = good.clone();
    let swapped = rearranged(&good["observations"], [n, s, t], |i, j, k| (i * t + k) * s + j);
    turned.insert("observations".to_string(), swapped);
    assert!(import_error(&turned).contains("swap the last two axes"), "{}", import_error(&turned));
}

#[test]
fn finding_steps_whose_change_is_out_of_line_are_flagged() {
    let mut all = recorded_tensors(2);
    let doubts = |all: &BTreeMap<String, Tensor>| {
        jumps(&imported_as(all, &Metadata::new(), ImportOptions::default()).unwrap(), &info())
    };
    assert_eq!(doubts(&all), []);
    let mut obs = values(&all["observations"]);
    // One step of one trajectory is another's.
    let [_, t, s] = all["observations"].shape[..] else { panic!("three axes") };
    let (there, elsewhere) = ((2 * t + 300) * s, 300 * s + 250 * s);
    obs.copy_within(elsewhere..elsewhere + s, there);
    all.insert("observations".to_string(), Tensor::f32(&all["observations"].shape.clone(), &obs));
    let found = doubts(&all);
    let places: Vec<_> = found.iter().map(|f| (f.episode, f.step)).collect();
    assert_eq!(places, [(Some(2), Some(300)), (Some(2), Some(301))], "{found:?}");
}

/// Findings: one wrong number is no wrong order; padding is not learned; what stands in another's
/// place is told where the numbers can tell it.
#[test]
fn finding_a_spike_is_a_spike_and_padding_is_padding() {
    let good = recorded_tensors(2);
    let [n, t, s] = good["observations"].shape[..] else { panic!("three axes") };
    let put = |name: &str, change: &dyn Fn(&mut [f32])| {
        let mut all = good.clone();
        let mut numbers = values(&good[name]);
        change(&mut numbers);
        all.insert(name.to_string(), Tensor::f32(&good[name].shape, &numbers));
        all
    };
    let whole_row = put("observations", &|x| x[(2 * t + 300) * s..][..s].fill(1e6));
    let one_number = put("observations", &|x| x[(2 * t + 300) * s] = -1e6);
    for spiked in [whole_row, one_number] {
        let file = imported_as(&spiked, &Metadata::new(), ImportOptions::default()).unwrap();
        let found = jumps(&file, &info());
        assert!(found.iter().any(|f| (f.episode, f.step) == (Some(2), Some(300))), "{found:?}");
        let (recording, bounds) = plain::recording_of(&file, &info(), Path::new(""));
        let findings = inspect(&recording, &bounds).findings;
        assert!(findings.iter().all(|f| f.kind != FindingKind::NoOrder), "{findings:?}");
    }
    let mut zeroed = good.clone();
    for name in ["observations", "actions"] {
        let w = good[name].shape[2];
        let all = put(name, &|x| x[(3 * t + t - 40) * w..(4 * t) * w].fill(0.0));
        zeroed.insert(name.to_string(), all[name].clone());
    }
    let error = import_error(&zeroed);
    let (first, lengths) = (format!("from step {} of {t}", t - 40), "`lengths`");
    for part in ["1 of 6", "trajectory 3", &first, "padding", lengths, "--accept-implausible"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    let accept = ImportOptions { accept_implausible: true, ..ImportOptions::default() };
    let file = imported_as(&zeroed, &Metadata::new(), accept).unwrap();
    let (recording, _) = plain::recording_of(&file, &info(), Path::new(""));
    let findings = inspect(&recording, &[]).findings;
    let padding: Vec<_> = findings.iter().filter(|f| f.kind == FindingKind::Padding).collect();
    assert_eq!(padding.len(), 1, "{findings:?}");
    assert_eq!((padding[0].episode, padding[0].step), (Some(3), Some(t - 40)));
    // With the lengths said, all is well.
    let mut lengths = vec![t as u32; n];
    lengths[3] -= 40;
    zeroed.insert("lengths".to_string(), Tensor::u32(&[n], &lengths));
    assert!(imported_as(&zeroed, &Metadata::new(), ImportOptions::default()).is_ok());
}
