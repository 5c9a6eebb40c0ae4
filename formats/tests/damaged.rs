//! Damaged files: an error that names the file, never a panic, never a huge allocation.
#![allow(clippy::unwrap_used)] // a test may panic

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    path::{Path, PathBuf},
};

use proptest::prelude::*;
use sog_formats::read;

thread_local! {
    /// The largest allocation that this thread, which is to say this test, has asked for.
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

fn note(size: usize) {
    LARGEST.set(LARGEST.get().max(size));
}

struct Watched;

// SAFETY: passes everything on to the system's allocator.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Watched = Watched;

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data")
}

/// Every data file, by its path below the folder.
fn files() -> Vec<PathBuf> {
    let mut waiting = vec![data()];
    let mut files = vec![];
    while let Some(folder) = waiting.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.file_name().unwrap() != "expected.csv" {
                files.push(path.strip_prefix(data()).unwrap().to_path_buf());
            }
        }
    }
    files.sort();
    files
}

/// A copy of the file, or of its data set's folder, with `change` made to the file's bytes.
fn damaged(file: &Path, change: impl FnOnce(&mut Vec<u8>)) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let set = file.components().next().unwrap().as_os_str();
    let mut waiting = vec![PathBuf::from(set)];
    while let Some(path) = waiting.pop() {
        let (from, to) = (data().join(&path), folder.path().join(&path));
        if from.is_dir() {
            std::fs::create_dir_all(&to).unwrap();
            let entries = std::fs::read_dir(from).unwrap();
            waiting.extend(entries.map(|e| path.join(e.unwrap().file_name())));
        } else {
            std::fs::copy(from, to).unwrap();
        }
    }
    let mut bytes = std::fs::read(data().join(file)).unwrap();
    change(&mut bytes);
    std::fs::write(folder.path().join(file), bytes).unwrap();
    let path = folder.path().join(set);
    (folder, path)
}

/// Reads the file; where it is refused, the message names it.
fn survives(folder: &Path, path: &Path) -> Result<(), TestCaseError> {
    LARGEST.set(0);
    if let Err(error) = read(path, None) {
        let message = error.to_string();
        prop_assert!(message.starts_with(&*folder.to_string_lossy()), "{message}");
    }
    let largest = LARGEST.get();
    // Files of at most 64 KiB hold at most 1032 times as much.
    prop_assert!(largest < 1 << 27, "{largest} bytes at once");
    Ok(())
}

#[test]
fn a_file_cut_short_anywhere_is_refused_or_read() {
    for file in files() {
        let length = std::fs::metadata(data().join(&file)).unwrap().len() as usize;
        let stride = (length / 16).max(1);
        for cut in (0..length).step_by(stride) {
            let (folder, path) = damaged(&file, |bytes| bytes.truncate(cut));
            survives(folder.path(), &path).unwrap_or_else(|e| panic!("{file:?} cut at {cut}: {e}"));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn flipped_bytes_never_panic(
        which in any::<prop::sample::Index>(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        early in any::<bool>(),
    ) {
        let files = files();
        let file = &files[which.index(files.len())];
        let (folder, path) = damaged(file, |bytes| {
            // Headers are where the lengths are.
            let length = if early { bytes.len().min(600) } else { bytes.len() };
            for (at, value) in &flips {
                bytes[at.index(length)] = *value;
            }
        });
        survives(folder.path(), &path)?;
    }

    #[test]
    fn large_numbers_in_headers_never_allocate(
        which in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        value in prop::sample::select(vec![u32::MAX, 1 << 31, 1 << 30, 0x7fff_ffff, 0]),
    ) {
        let files = files();
        let file = &files[which.index(files.len())];
        let (folder, path) = damaged(file, |bytes| {
            let at = at.index(bytes.len().saturating_sub(4).max(1));
            let end = (at + 4).min(bytes.len());
            bytes[at..end].copy_from_slice(&value.to_le_bytes()[..end - at]);
        });
        survives(folder.path(), &path)?;
    }
}

/// Found by flipped bytes: HDF5 states a chunk's size apart from the data's, and it was unpacked.
#[test]
fn a_chunk_larger_than_the_file_can_fill_is_refused() {
    // The layout of a chunked matrix of 8-byte numbers: rank + 1, address, then rows and columns of
    // a chunk and the size of a number.
    let file = Path::new("robomimic.hdf5");
    let (mut found, bytes) = (0, std::fs::read(data().join(file)).unwrap());
    for at in 0..bytes.len() - 24 {
        let dim = |i: usize| u32::from_le_bytes(bytes[at + i..at + i + 4].try_into().unwrap());
        if bytes[at..at + 3] != [3, 2, 3] || !(1..100).contains(&dim(11)) || dim(19) != 8 {
            continue;
        }
        found += 1;
        let (folder, path) = damaged(file, |bytes| bytes[at + 14] = 7);
        survives(folder.path(), &path).unwrap_or_else(|e| panic!("layout at {at}: {e}"));
        let message = read(&path, None).unwrap_err().to_string();
        assert!(message.contains("bytes"), "{message}");
    }
    assert!(found > 0, "the file has no chunked matrix");
}

#[test]
fn what_is_wrong_is_named_with_file_episode_and_column() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    };
    write("tables/a_1.csv", b"t,x\n0,1\n1,2\n");
    write("tables/a_2.csv", b"t,x\n0,1\n1,two\n");
    write("uneven/a_1.csv", b"t,x\n0,1\n1\n");
    write("widths/a_1.csv", b"1 2 3\n4 5 6\n");
    let cases = [
        (folder.path().join("tables"), "episode `a_2`, column `x`: row 3 holds `two`"),
        (folder.path().join("uneven"), "episode `a_1`: line 3 has 1 cells, need 2"),
        (write("empty.npz", b""), "empty file"),
        (write("pickle.pkl", b"\x80\x04\x95"), "pickle"),
        (write("noise.bin", &[1, 2, 3, 0, 0, 0, 200]), "no format that is known"),
        (write("zip.npz", b"PK\x03\x04 and nothing more"), "damaged"),
        (write("header.csv", b"t,x\n"), "no episode"),
        (write("x.npy", b"\x93NUMPY\x01\x00\xff\xff{"), "cut short"),
    ];
    for (path, needle) in cases {
        let message = read(&path, None).unwrap_err().to_string();
        assert!(message.contains(needle), "`{needle}` is not in: {message}");
        assert!(message.starts_with(&*path.to_string_lossy()), "{message}");
    }
    let huge = b"{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999, 8), }\n";
    let mut npy = b"\x93NUMPY\x01\x00".to_vec();
    npy.extend((huge.len() as u16).to_le_bytes());
    npy.extend(huge);
    let message = read(&write("huge.npy", &npy), None).unwrap_err().to_string();
    assert!(message.contains("more than a file of"), "{message}");
}

#[test]
fn a_name_that_stands_twice_is_no_column() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("arm.csv");
    for (head, twice) in [("t,q,q,act", "`q`"), ("act,t,q,act", "`act`")] {
        let rows: String = (0..5).map(|i| format!("{i},{},{},{}\n", i + 1, i + 2, i + 3)).collect();
        std::fs::write(&file, format!("{head}\n{rows}")).unwrap();
        let error = read(&file, None).unwrap_err().to_string();
        assert!(error.contains(twice) && error.contains("twice"), "{error}");
    }
}
