//! Pictures to learn from and pictures held out: MNIST's format, or a folder in CelebA's layout.

use std::{
    borrow::Cow,
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
};

use flate2::read::GzDecoder;
use image::{GenericImageView, imageops};
use sog_engine::conv::Grid;

use super::error::ImageError;

/// Sets that are known by name, each a folder of four files in MNIST's format.
pub const NAMED: [&str; 2] = ["mnist", "fashion-mnist"];

/// Where `cargo xtask data` puts them, below the root of a checkout.
const DIR: &str = ".data";

/// Side that the pictures of a folder are brought to.
const FOLDER_SIDE: u32 = 64;

/// Folder of the pictures, and the file that says which are held out, in CelebA's layout.
const FOLDER_PICTURES: &str = "img_align_celeba";
const FOLDER_PARTITION: &str = "list_eval_partition.txt";

/// Pictures of one size.
#[derive(Debug, Clone, PartialEq)]
pub struct Pictures {
    /// Their size.
    pub size: Grid,
    /// `[N, height, width, channels]`, 0 black.
    pub pixels: Vec<u8>,
    /// What each shows, where it is known: for evaluation only. Empty or `[N]`.
    pub labels: Vec<u8>,
}

/// A data set.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    /// Its name, or the name of its folder.
    pub name: String,
    /// Pictures to learn from.
    pub train: Pictures,
    /// Pictures held out.
    pub test: Pictures,
}

impl Pictures {
    /// Number of pictures.
    pub fn len(&self) -> usize {
        self.pixels.len() / self.size.values().max(1)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.pixels.is_empty()
    }

    /// The chosen pictures as the generator makes them, `[chosen, height, width, channels]` from −1
    /// (black) to 1.
    pub fn scaled(&self, chosen: impl IntoIterator<Item = usize>) -> Vec<f32> {
        let width = self.size.values();
        let of = |n: usize| &self.pixels[n * width..(n + 1) * width];
        chosen.into_iter().flat_map(of).map(|&p| f32::from(p) / 127.5 - 1.0).collect()
    }

    /// At most `most` of them, evenly spread over the set; 0: all.
    pub fn at_most(&self, most: usize) -> Cow<'_, Self> {
        let (all, width) = (self.len(), self.size.values());
        if most == 0 || most >= all {
            return Cow::Borrowed(self);
        }
        let chosen = (0..most).map(|n| n * all / most);
        let pixels = chosen.clone().flat_map(|n| &self.pixels[n * width..(n + 1) * width]);
        let labels = chosen.filter_map(|n| self.labels.get(n));
        let (pixels, labels) = (pixels.copied().collect(), labels.copied().collect());
        Cow::Owned(Self { size: self.size, pixels, labels })
    }

    /// The first `count` of them.
    pub fn truncated(mut self, count: usize) -> Self {
        self.pixels.truncate(count * self.size.values());
        self.labels.truncate(count);
        self
    }
}

/// Mean squared error per value on the scale from 0 to 1, of squared distances summed over the
/// values of a picture on the scale from −1 to 1.
pub fn per_value(squared_distance: f64, size: Grid) -> f64 {
    squared_distance / (4.0 * size.values() as f64)
}

/// Opens a data set by its name, or the folder of one.
///
/// # Errors
/// [`ImageError`].
pub fn open(name: &str) -> Result<Dataset, ImageError> {
    let folder = Path::new(name);
    if NAMED.contains(&name) {
        return named(name);
    }
    if !folder.is_dir() {
        return Err(ImageError::UnknownDataset { found: name.to_string() });
    }
    if folder.join("train-images-idx3-ubyte").is_file()
        || folder.join("train-images-idx3-ubyte.gz").is_file()
    {
        return mnist(folder, folder_name(folder));
    }
    pictures(folder)
}

fn folder_name(folder: &Path) -> String {
    folder.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

/// The set of that name here, or in a directory above.
fn named(name: &str) -> Result<Dataset, ImageError> {
    let here = std::env::current_dir().unwrap_or_default();
    let found = here.ancestors().map(|dir| dir.join(DIR).join(name)).find(|dir| dir.is_dir());
    let folder = found.unwrap_or_else(|| here.join(DIR).join(name));
    match mnist(&folder, name.to_string()) {
        Err(ImageError::Layout { path, .. }) => {
            Err(ImageError::NotFetched { name: name.to_string(), path })
        }
        other => other,
    }
}

/// MNIST's four files, plain or compressed.
fn mnist(folder: &Path, name: String) -> Result<Dataset, ImageError> {
    let part = |prefix: &str| -> Result<Pictures, ImageError> {
        let (path, bytes) = read_idx(folder, &format!("{prefix}-images-idx3-ubyte"))?;
        let (dims, pixels) = parse_idx::<3>(&path, &bytes)?;
        let (path, bytes) = read_idx(folder, &format!("{prefix}-labels-idx1-ubyte"))?;
        let ([count], labels) = parse_idx::<1>(&path, &bytes)?;
        if count != dims[0] {
            let reason = format!("labels of {count} pictures, there are {}", dims[0]);
            return Err(ImageError::Format { path, reason });
        }
        let size = Grid { height: dims[1], width: dims[2], channels: 1 };
        Ok(Pictures { size, pixels: pixels.to_vec(), labels: labels.to_vec() })
    };
    let dataset = Dataset { name, train: part("train")?, test: part("t10k")? };
    check(&dataset, folder)?;
    Ok(dataset)
}

/// A file of that name, or its compressed form.
fn read_idx(folder: &Path, name: &str) -> Result<(PathBuf, Vec<u8>), ImageError> {
    let (plain, packed) = (folder.join(name), folder.join(format!("{name}.gz")));
    let mut bytes = vec![];
    if packed.is_file() {
        let file = File::open(&packed).map_err(ImageError::io(&packed))?;
        GzDecoder::new(file).read_to_end(&mut bytes).map_err(ImageError::io(&packed))?;
        return Ok((packed, bytes));
    }
    if !plain.is_file() {
        return Err(ImageError::Layout { path: plain, needed: "MNIST's four files" });
    }
    bytes = fs::read(&plain).map_err(ImageError::io(&plain))?;
    Ok((plain, bytes))
}

/// Dimensions and content of an IDX file of bytes: two zeros, type 8, number of dimensions, each
/// dimension as a big-endian u32, content.
fn parse_idx<'a, const N: usize>(
    path: &Path,
    bytes: &'a [u8],
) -> Result<([usize; N], &'a [u8]), ImageError> {
    let bad = |reason: String| ImageError::Format { path: path.to_path_buf(), reason };
    let (magic, mut rest) = bytes
        .split_first_chunk::<4>()
        .ok_or_else(|| bad(format!("{} bytes are no IDX file", bytes.len())))?;
    if *magic != [0, 0, 8, N as u8] {
        return Err(bad(format!(
            "begins with {magic:?}, need [0, 0, 8, {N}]: an IDX file of bytes in {N} dimensions"
        )));
    }
    let mut dims = [0; N];
    for dim in &mut dims {
        let (size, behind) = rest
            .split_first_chunk::<4>()
            .ok_or_else(|| bad(format!("ends within its {N} dimensions")))?;
        *dim = u32::from_be_bytes(*size) as usize;
        rest = behind;
    }
    let needed = dims.iter().try_fold(1usize, |product, &dim| product.checked_mul(dim));
    if needed != Some(rest.len()) {
        return Err(bad(format!("has {} bytes of content, dimensions {dims:?}", rest.len())));
    }
    Ok((dims, rest))
}

/// A folder in CelebA's layout: the pictures, and a file with a line `NAME PART` for each, part 0
/// to learn from, 1 for validation (not used), 2 held out. Each picture is cut to its middle square
/// and brought to 64 × 64.
fn pictures(folder: &Path) -> Result<Dataset, ImageError> {
    let (dir, partition) = (folder.join(FOLDER_PICTURES), folder.join(FOLDER_PARTITION));
    if !dir.is_dir() {
        return Err(ImageError::Layout { path: dir, needed: "its pictures in img_align_celeba/" });
    }
    if !partition.is_file() {
        let needed = "a line `NAME PART` for each picture in list_eval_partition.txt";
        return Err(ImageError::Layout { path: partition, needed });
    }
    let size = Grid { height: FOLDER_SIDE as usize, width: FOLDER_SIDE as usize, channels: 3 };
    let empty = || Pictures { size, pixels: vec![], labels: vec![] };
    let (mut train, mut test) = (empty(), empty());
    let text = fs::read_to_string(&partition).map_err(ImageError::io(&partition))?;
    let mut first = None;
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (name, into) = match words[..] {
            [name, "0"] => (name, Some(&mut train)),
            [name, "1"] => (name, None),
            [name, "2"] => (name, Some(&mut test)),
            _ => {
                let reason = format!("line {}: found `{line}`, need `NAME 0|1|2`", number + 1);
                return Err(ImageError::Format { path: partition, reason });
            }
        };
        if let Some(into) = into {
            let pixels = read_picture(&dir.join(name), &mut first)?;
            into.pixels.extend(pixels);
        }
    }
    let dataset = Dataset { name: folder_name(folder), train, test };
    check(&dataset, folder)?;
    Ok(dataset)
}

/// A picture, 64 × 64 in three channels; all must be of the size of the `first`.
fn read_picture(path: &Path, first: &mut Option<(u32, u32)>) -> Result<Vec<u8>, ImageError> {
    let bad = |reason: String| ImageError::Format { path: path.to_path_buf(), reason };
    let bytes = fs::read(path).map_err(ImageError::io(path))?;
    let picture = image::load_from_memory(&bytes).map_err(|e| bad(e.to_string()))?;
    let (width, height) = picture.dimensions();
    let (first_width, first_height) = *first.get_or_insert((width, height));
    if (width, height) != (first_width, first_height) {
        return Err(bad(format!(
            "is {width} × {height}, the first picture {first_width} × {first_height}"
        )));
    }
    let side = width.min(height);
    let square = picture.crop_imm((width - side) / 2, (height - side) / 2, side, side);
    let filter = imageops::FilterType::Triangle;
    Ok(square.resize_exact(FOLDER_SIDE, FOLDER_SIDE, filter).to_rgb8().into_raw())
}

/// Fewest pictures to learn from: one minibatch.
pub(super) const FEWEST: usize = 32;

fn check(dataset: &Dataset, folder: &Path) -> Result<(), ImageError> {
    let path = folder.to_path_buf();
    if dataset.train.len() < FEWEST {
        return Err(ImageError::Empty { path, of: "to learn from", needed: FEWEST });
    }
    if dataset.test.is_empty() {
        return Err(ImageError::Empty { path, of: "held out", needed: 1 });
    }
    if dataset.train.size != dataset.test.size {
        let reason = format!(
            "pictures to learn from are {}, those held out {}",
            size_of(dataset.train.size),
            size_of(dataset.test.size)
        );
        return Err(ImageError::Format { path, reason });
    }
    Ok(())
}

/// For instance `28 × 28 × 1`.
pub fn size_of(size: Grid) -> String {
    format!("{} × {} × {}", size.height, size.width, size.channels)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An IDX file.
    fn idx(dims: &[u32], content: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, 8, dims.len() as u8];
        dims.iter().for_each(|d| bytes.extend(d.to_be_bytes()));
        bytes.extend(content);
        bytes
    }

    proptest! {
        #[test]
        fn idx_files_come_back_and_others_are_refused(
            dims in prop::array::uniform3(0u32..5),
            cut in 1usize..20,
            junk in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let content: Vec<u8> = (0..dims.iter().product::<u32>()).map(|i| i as u8).collect();
            let bytes = idx(&dims, &content);
            let (got, rest) = parse_idx::<3>(Path::new("x"), &bytes).unwrap();
            prop_assert_eq!(got.map(|d| d as u32), dims);
            prop_assert_eq!(rest, &content[..]);
            let short = &bytes[..bytes.len().saturating_sub(cut)];
            prop_assert!(parse_idx::<3>(Path::new("x"), short).is_err());
            prop_assert!(parse_idx::<1>(Path::new("x"), &bytes).is_err());
            // No input panics.
            let _ = parse_idx::<3>(Path::new("x"), &junk);
        }
    }

    #[test]
    fn mnist_is_read_plain_and_compressed() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).unwrap();
        let error = open(&dir.path().to_string_lossy()).unwrap_err().to_string();
        assert!(error.contains("img_align_celeba is not there"), "{error}");
        let pixels: Vec<u8> = (0..40 * 6).map(|i| i as u8).collect();
        write("train-images-idx3-ubyte", &idx(&[40, 2, 3], &pixels));
        write("train-labels-idx1-ubyte", &idx(&[40], &[7; 40]));
        write("t10k-labels-idx1-ubyte", &idx(&[1], &[3]));
        let mut packed = vec![];
        let mut encoder =
            flate2::read::GzEncoder::new(&*idx(&[1, 2, 3], &[9; 6]).leak(), Default::default());
        encoder.read_to_end(&mut packed).unwrap();
        write("t10k-images-idx3-ubyte.gz", &packed);
        let set = open(&dir.path().to_string_lossy()).unwrap();
        assert_eq!((set.train.len(), set.test.len()), (40, 1));
        assert_eq!((&set.train.pixels, &set.test.labels), (&pixels, &vec![3]));
        let scaled = set.train.scaled([0, 39]);
        assert_eq!((scaled.len(), scaled[0]), (12, -1.0));
        write("train-labels-idx1-ubyte", &idx(&[39], &[7; 39]));
        let error = open(&dir.path().to_string_lossy()).unwrap_err().to_string();
        assert!(error.contains("labels of 39 pictures, there are 40"), "{error}");
    }

    #[test]
    fn fewer_pictures_are_evenly_spread_over_the_set() {
        let size = Grid { height: 1, width: 2, channels: 1 };
        let set = Pictures { size, pixels: (0..14).collect(), labels: (10..17).collect() };
        let some = set.at_most(3);
        assert_eq!((&*some.pixels, &*some.labels), (&[0, 1, 4, 5, 8, 9][..], &[10, 12, 14][..]));
        assert_eq!(set.at_most(6).labels, [10, 11, 12, 13, 14, 15]);
        for all in [0, 7, 8] {
            assert_eq!(*set.at_most(all), set);
        }
        let unlabelled = Pictures { labels: vec![], ..set };
        assert_eq!((unlabelled.at_most(3).len(), unlabelled.at_most(3).labels.len()), (3, 0));
    }

    /// A folder in CelebA's layout with `count` pictures of a colour each.
    fn folder(count: usize) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let pictures = dir.path().join(FOLDER_PICTURES);
        fs::create_dir(&pictures).unwrap();
        let mut partition = String::new();
        for n in 0..count {
            let name = format!("{n:06}.jpg");
            // As CelebA's: higher than wide; the border, which is cut off, is white.
            let picture = image::RgbImage::from_fn(178, 218, |_, y| match y {
                20..198 => image::Rgb([n as u8, 128, 255 - n as u8]),
                _ => image::Rgb([255; 3]),
            });
            picture.save(pictures.join(&name)).unwrap();
            partition += &format!("{name} {}\n", if n < count - 2 { 0 } else { n + 3 - count });
        }
        fs::write(dir.path().join(FOLDER_PARTITION), partition).unwrap();
        dir
    }

    #[test]
    fn a_folder_of_pictures_is_read_as_its_partition_says() {
        let dir = folder(36);
        let set = open(&dir.path().to_string_lossy()).unwrap();
        assert_eq!((set.train.len(), set.test.len()), (34, 1), "one is for validation");
        assert_eq!(set.train.size, Grid { height: 64, width: 64, channels: 3 });
        assert!(set.train.labels.is_empty());
        let (red, blue) = (set.test.pixels[3 * 2080], set.test.pixels[3 * 2080 + 2]);
        // JPEG keeps colours within a little.
        assert!(red.abs_diff(35) < 6 && blue.abs_diff(220) < 6, "{red} {blue}");
        assert!(set.test.pixels.iter().all(|&p| p < 250), "the border is cut off");
    }

    #[test]
    fn what_is_wrong_with_a_folder_is_named() {
        let said =
            |dir: &tempfile::TempDir| open(&dir.path().to_string_lossy()).unwrap_err().to_string();
        let dir = folder(36);
        let other = image::RgbImage::new(100, 100);
        other.save(dir.path().join(FOLDER_PICTURES).join("000003.jpg")).unwrap();
        let error = said(&dir);
        assert!(error.contains("000003.jpg: is 100 × 100, the first picture 178 × 218"), "{error}");
        fs::write(dir.path().join(FOLDER_PICTURES).join("000003.jpg"), b"no picture").unwrap();
        assert!(said(&dir).contains("000003.jpg: "));
        fs::remove_file(dir.path().join(FOLDER_PICTURES).join("000003.jpg")).unwrap();
        assert!(said(&dir).contains("000003.jpg: No such file"));
        fs::write(dir.path().join(FOLDER_PARTITION), "000001.jpg 3\n").unwrap();
        let error = said(&dir);
        assert!(error.contains("line 1: found `000001.jpg 3`, need `NAME 0|1|2`"), "{error}");
        fs::write(dir.path().join(FOLDER_PARTITION), "000001.jpg 0\n").unwrap();
        assert!(said(&dir).contains("no pictures to learn from; need at least 32"));
        fs::remove_file(dir.path().join(FOLDER_PARTITION)).unwrap();
        assert!(said(&dir).contains("list_eval_partition.txt is not there"));
        let error = open("no-such-set").unwrap_err().to_string();
        assert!(error.contains("no data set `no-such-set`: need mnist"), "{error}");
    }
}
