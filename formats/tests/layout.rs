//! Long tables become episodes: by a column, by empty lines, where time starts anew.
#![allow(clippy::unwrap_used)] // a test may panic

use std::path::Path;

use sog_formats::{
    Recording,
    layout::{Layout, lay_out},
    read,
};

fn written(folder: &Path, name: &str, text: impl AsRef<[u8]>) -> Result<Recording, String> {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    read(&path, None).map_err(|e| e.to_string())
}

fn laid_out(mut recording: Recording, layout: &Layout) -> Result<Recording, String> {
    lay_out(&mut recording, layout).map_err(|e| e.to_string())?;
    Ok(recording)
}

fn lengths(recording: &Recording) -> Vec<usize> {
    recording.episodes.iter().map(|e| e.length).collect()
}

/// Columns without names: time in ms, a number of the trial, a position.
fn long() -> String {
    let row = |(trial, t): (i32, i32)| format!("{} {trial} {}\n", 10 * t, 100 * trial + t);
    let rows = [(3, 4), (7, 3), (8, 5)].map(|(trial, n)| (0..n).map(move |t| (trial, t)));
    rows.into_iter().flatten().map(row).collect()
}

#[test]
fn a_long_table_is_cut_by_its_time_or_by_a_number() {
    let folder = tempfile::tempdir().unwrap();
    let recording = || written(folder.path(), "long.txt", long()).unwrap();
    let by = |episodes: &str, time: &str| Layout {
        episodes: (!episodes.is_empty()).then(|| episodes.parse().unwrap()),
        time: (!time.is_empty()).then(|| time.parse().unwrap()),
        dt_s: None,
    };
    assert_eq!(lengths(&laid_out(recording(), &Layout::default()).unwrap()), [12]);
    let timed = laid_out(recording(), &by("", "data[0]:*0.001")).unwrap();
    assert_eq!(lengths(&timed), [4, 3, 5]);
    assert!(timed.notes.iter().any(|n| n.contains("2 rows") && n.contains("3 episodes")));
    let numbered = laid_out(recording(), &by("data[1]", "")).unwrap();
    assert_eq!(lengths(&numbered), [4, 3, 5]);
    let both = laid_out(recording(), &by("data[1]", "data[0]:*0.001")).unwrap();
    assert_eq!(lengths(&both), [4, 3, 5]);
    for recording in [timed, both] {
        assert_eq!(recording.dt(), Some(0.01));
        assert_eq!(
            recording.episodes[1].data[0],
            [0.0, 7.0, 700.0, 10.0, 7.0, 701.0, 20.0, 7.0, 702.0]
        );
        assert_eq!(recording.episodes[2].times_s.as_ref().unwrap()[4], 0.04);
        let names: Vec<&str> = recording.episodes.iter().map(|e| e.name.as_str()).collect();
        assert_eq!(names, ["long/0", "long/1", "long/2"]);
    }
    for (wrong, needed) in
        [("none", "no column `none`"), ("data", "`--time` has 1 components, its source 3")]
    {
        let error = laid_out(recording(), &by("", wrong)).unwrap_err();
        assert!(error.contains(needed), "{error}");
    }
}

#[test]
fn a_clock_that_runs_back_for_a_step_is_no_new_episode() {
    let folder = tempfile::tempdir().unwrap();
    for (times, cuts) in [
        ("0 0.1 0.2 0.3 0 0.5 0.6", &[7][..]),
        ("0 0.1 0.2 0.3 0.2 0.3 0.4", &[7]),
        ("0 0.1 0.2 0.3 0 0.1 0.2", &[4, 3]),
        ("5.0 5.1 5.2 5.3 5.05 5.15 5.25", &[4, 3]),
    ] {
        let rows: String = times.split(' ').map(|t| format!("{t},1\n")).collect();
        let recording = written(folder.path(), "a.csv", format!("t,q\n{rows}")).unwrap();
        assert_eq!(lengths(&laid_out(recording, &Layout::default()).unwrap()), cuts, "{times}");
    }
}

#[test]
fn empty_lines_part_stretches_of_several_rows_alone() {
    let folder = tempfile::tempdir().unwrap();
    for (text, parts) in [
        ("1 2\n3 4\n\n5 6\n7 8\n9 9\n\n", &[2, 3][..]),
        ("\n\n# x y\n1 2\n3 4\n\n\n5 6\n7 8\n", &[2, 2]),
        ("x,y\n1,2\n3,4\n\n5,6\n7,8\n", &[2, 2]),
        // Every line has an empty one behind it.
        ("1 2\n\n3 4\n\n5 6\n\n", &[3]),
        ("1 2\n3 4\n\n5 6\n", &[3]),
        ("trial,y\npick,2\npick,4\nplace,6\npick,8\n", &[2, 1, 1]),
        // A column says it.
        ("episode,y\n1,2\n1,4\n\n1,6\n2,8\n", &[3, 1]),
    ] {
        assert_eq!(lengths(&written(folder.path(), "a.txt", text).unwrap()), parts, "{text:?}");
    }
}

#[test]
fn tables_in_a_folder_are_cut_as_single_ones_are() {
    let folder = tempfile::tempdir().unwrap();
    let found = |texts: [&str; 2]| {
        for (n, text) in texts.iter().enumerate() {
            std::fs::write(folder.path().join(format!("day_{n}.csv")), text).unwrap();
        }
        let recording = read(folder.path(), None).unwrap();
        let texts = |n: &String| n.ends_with("is left out: texts");
        assert!(recording.notes.iter().all(texts), "{:?}", recording.notes);
        let names: Vec<String> = recording.episodes.iter().map(|e| e.name.clone()).collect();
        (names.join(" "), lengths(&recording))
    };
    let cut = "day_0/0 day_0/1 day_1".to_string();
    let numbered = ["episode,q\n4,1\n4,2\n5,3\n", "episode,q\n0,1\n0,2\n"];
    assert_eq!(found(numbered), (cut.clone(), vec![2, 1, 2]));
    assert_eq!(found(["1 2\n3 4\n\n5 6\n7 8\n9 9\n", "1 2\n3 4\n"]), (cut.clone(), vec![2, 3, 2]));
    let named = ["trial,q\nfar,1\nfar,2\nnear,3\n", "trial,q\nfar,1\nfar,2\n"];
    assert_eq!(found(named), (cut.clone(), vec![2, 1, 2]));
    let whole = ["demo,q\n0,1\n0,2\n", "demo,q\n1,1\n1,2\n"];
    assert_eq!(found(whole), ("day_0 day_1".to_string(), vec![2, 2]));
}

#[test]
fn a_period_is_said_where_the_file_says_none() {
    let folder = tempfile::tempdir().unwrap();
    let said = Layout { dt_s: Some(0.02), ..Layout::default() };
    let silent = written(folder.path(), "a.csv", "q,u\n1,2\n3,4\n").unwrap();
    assert_eq!(laid_out(silent, &said).unwrap().dt(), Some(0.02));
    let timed = || written(folder.path(), "b.csv", "t,q\n0,2\n0.02,4\n").unwrap();
    assert_eq!(laid_out(timed(), &said).unwrap().dt(), Some(0.02));
    let other = Layout { dt_s: Some(0.01), ..Layout::default() };
    let error = laid_out(timed(), &other).unwrap_err();
    assert!(error.contains("--dt says 0.01 s") && error.contains("0.02 s"), "{error}");
}

#[test]
fn what_was_left_out_is_said_where_nothing_else_is_there() {
    let folder = tempfile::tempdir().unwrap();
    // An array of objects, as `numpy.save` writes it.
    let header = "{'descr': '|O', 'fortran_order': False, 'shape': (2,), }";
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend(u16::try_from(header.len()).unwrap().to_le_bytes());
    bytes.extend(header.bytes());
    let error = written(folder.path(), "a.npy", bytes).unwrap_err();
    assert!(error.contains("no episode") && error.contains("pickled Python objects"), "{error}");
}

#[test]
fn a_column_that_the_first_file_lacks_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for (name, columns) in [("a.txt", "q u"), ("b.txt", "q grip u")] {
        let row = ["1", "2", "3"][..columns.split(' ').count()].join(" ");
        std::fs::write(folder.path().join(name), format!("{columns}\n{row}\n{row}\n")).unwrap();
    }
    let recording = read(folder.path(), None).unwrap();
    assert_eq!(recording.columns.len(), 2);
    let said = |n: &String| n.contains("column `grip` is left out") && n.contains("a.txt");
    assert!(recording.notes.iter().any(said), "{:?}", recording.notes);
}

#[test]
fn a_column_without_a_name_is_called_by_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let recording = written(folder.path(), "a.csv", ",demo,q\n0,1,5\n1,1,6\n0,2,7\n").unwrap();
    let names: Vec<&str> = recording.columns.iter().map(|c| c.name.as_str()).collect();
    assert_eq!((names, lengths(&recording)), (vec!["unnamed_0", "demo", "q"], vec![2, 1]));
}

#[test]
fn comments_and_empty_cells_are_no_steps() {
    let folder = tempfile::tempdir().unwrap();
    let recording = written(folder.path(), "a.csv", "% from a rig\n% q,u\n1,2\n%\n3,4\n").unwrap();
    let names: Vec<&str> = recording.columns.iter().map(|c| c.name.as_str()).collect();
    assert_eq!((names, lengths(&recording)), (vec!["q", "u"], vec![2]));
    for text in [",,,\n", "# q,u\n,\n", "%\n", "q,u\n,\n"] {
        let error = written(folder.path(), "a.csv", text).unwrap_err();
        assert!(error.contains("no episode with at least one step"), "{error}");
    }
}

#[test]
fn a_line_that_counts_the_columns_is_no_step() {
    let folder = tempfile::tempdir().unwrap();
    let columns = |text: &str| {
        let recording = written(folder.path(), "a.csv", text)?;
        let columns = recording.columns.iter().map(|c| (c.name.clone(), c.width));
        let said = recording.notes.iter().any(|n| n.contains("taken for the columns' numbers"));
        Ok::<_, String>((columns.collect::<Vec<_>>(), recording.episodes[0].data.clone(), said))
    };
    let name = |name: &str, width: usize| (name.to_string(), width);
    // As `DataFrame(array).to_csv(index=False)` writes it, with commas and with spaces.
    let data = vec![vec![5.0, 6.0, 7.0, 8.0, 9.0, 10.0]];
    for text in
        ["0,1,2\n5,6,7\n8,9,10\n", "\n0 1 2\n5 6 7\n8 9 10\n", "\"0\",\"1\",\"2\"\n5,6,7\n8,9,10\n"]
    {
        assert_eq!(columns(text), Ok((vec![name("data", 3)], data.clone(), true)), "{text}");
    }
    // With the numbers of the rows.
    let names = vec![name("unnamed_0", 1), name("data[0]", 1), name("data[1]", 1)];
    let data = vec![vec![0.0, 1.0], vec![5.0, 7.0], vec![6.0, 8.0]];
    assert_eq!(columns(",0,1\n0,5,6\n1,7,8\n"), Ok((names, data, true)));
    // Numbers as good as any.
    for text in ["0,1,3\n5,6,7\n", "0.0,1.0,2.0\n5,6,7\n", "1,2,3\n5,6,7\n", "0\n5\n", "0,1,2\n"] {
        let (columns, data, said) = columns(text).unwrap();
        let rows = text.lines().count() * columns[0].1;
        assert!(columns[0].0 == "data" && data[0].len() == rows && !said, "{text}");
    }
    for text in ["a,b,c\n0,1,2\n5,6,7\n", "# a,b,c\n0,1,2\n5,6,7\n"] {
        assert_eq!(columns(text).unwrap().1[2], [2.0, 7.0], "{text}");
    }
    // Two columns may well begin with 0 and 1.
    let error = columns("0,1\n1,2\n2,3\n").unwrap_err();
    assert!(
        error.contains("line 1, `0` and `1`, is either") && error.contains(": delete the line"),
        "{error}"
    );
}

/// An HDF5 file of matrices of three columns, by path and rows.
#[cfg(feature = "hdf5")]
fn grouped(folder: &Path, name: &str, matrices: &[(&str, &str, usize)]) -> Recording {
    let path = folder.join(name);
    let file = rust_hdf5::H5File::create(&path).unwrap();
    let mut groups: Vec<(&str, rust_hdf5::H5Group)> = vec![];
    for (n, &(group, name, rows)) in matrices.iter().enumerate() {
        if groups.iter().all(|(known, _)| *known != group) {
            groups.push((group, file.create_group(group).unwrap()));
        }
        let (_, group) = groups.iter().find(|(known, _)| *known == group).unwrap();
        let dataset = group.new_dataset::<f64>().shape([rows, 3]).create(name).unwrap();
        dataset.write_raw(&vec![n as f64; rows * 3]).unwrap();
    }
    drop(groups);
    file.close().unwrap();
    read(&path, None).unwrap()
}

#[cfg(feature = "hdf5")]
#[test]
fn observations_and_actions_of_the_same_names_are_no_two_episodes() {
    let folder = tempfile::tempdir().unwrap();
    for [act, obs] in [["actions", "observations"], ["action", "obs"]] {
        let matrices = [(act, "arm", 7), (act, "hand", 7), (obs, "arm", 7), (obs, "hand", 7)];
        let recording = grouped(folder.path(), &format!("{act}.h5"), &matrices);
        let names: Vec<&str> = recording.columns.iter().map(|c| c.name.as_str()).collect();
        let wanted = matrices.map(|(group, name, _)| format!("{group}/{name}"));
        assert_eq!(
            (names, lengths(&recording)),
            (wanted.iter().map(String::as_str).collect(), vec![7])
        );
        let firsts: Vec<f64> = recording.episodes[0].data.iter().map(|d| d[0]).collect();
        assert_eq!(firsts, [0.0, 1.0, 2.0, 3.0]);
    }
    let people = [("bob", "arm", 7), ("alice", "arm", 5)];
    assert_eq!(lengths(&grouped(folder.path(), "people.h5", &people)), [5, 7]);
}

#[cfg(feature = "hdf5")]
#[test]
fn pictures_in_an_episode_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("main_data.hdf5");
    let file = rust_hdf5::H5File::create(&path).unwrap();
    let group = file.create_group("data").unwrap().create_group("demo_0").unwrap();
    group
        .new_dataset::<f64>()
        .shape([2, 3])
        .create("actions")
        .unwrap()
        .write_raw(&[0.0; 6])
        .unwrap();
    let pictures = group.new_dataset::<u8>().shape([2, 2, 2, 3]).create("view").unwrap();
    pictures.write_raw(&[0_u8; 24]).unwrap();
    file.close().unwrap();
    let recording = read(&path, None).unwrap();
    assert_eq!(recording.format, sog_formats::Format::Robomimic);
    let said = |n: &String| n.contains("`view` is left out: pictures");
    assert!(recording.notes.iter().any(said), "{:?}", recording.notes);
}
