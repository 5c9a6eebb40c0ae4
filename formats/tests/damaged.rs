//! Damaged files: an error that names the file, never a panic, never a huge allocation.
#![allow(clippy::unwrap_used)] // a test may panic

use std::{
    alloc::{GlobalAlloc, Layout, System},
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

use proptest::prelude::*;
use sog_formats::read;

/// The largest allocation that was asked for.
static LARGEST: AtomicUsize = AtomicUsize::new(0);

struct Watched;

// SAFETY: passes everything on to the system's allocator.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LARGEST.fetch_max(size, Ordering::Relaxed);
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
    LARGEST.store(0, Ordering::Relaxed);
    if let Err(error) = read(path, None) {
        let message = error.to_string();
        prop_assert!(message.starts_with(&*folder.to_string_lossy()), "{message}");
    }
    let largest = LARGEST.load(Ordering::Relaxed);
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
