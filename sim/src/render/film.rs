//! A file that frames go to.

use std::{
    fs::File,
    io::{BufWriter, Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use super::{Frame, RenderError};

/// Format of a film, told by the file's extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilmKind {
    /// Animated GIF.
    Gif,
    /// Numbered PNG files.
    Png,
    /// MP4, by a running `ffmpeg`.
    Mp4,
}

impl FilmKind {
    /// Format of a file of this name.
    ///
    /// # Errors
    /// [`RenderError::Format`].
    pub fn of(path: &Path) -> Result<Self, RenderError> {
        match path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase).as_deref() {
            Some("gif") => Ok(Self::Gif),
            Some("png") => Ok(Self::Png),
            Some("mp4") => Ok(Self::Mp4),
            _ => Err(RenderError::Format { found: path.display().to_string() }),
        }
    }
}

/// A film being written.
pub struct Film {
    path: PathBuf,
    sink: Sink,
    frames: usize,
}

enum Sink {
    Gif(Box<GifSink>),
    Png,
    Mp4(Child),
}

impl Film {
    /// Begins a film of pictures of one size, `frame_s` seconds each.
    ///
    /// # Errors
    /// [`RenderError::Format`], [`RenderError::Write`].
    pub fn create(path: &Path, size: (u32, u32), frame_s: f64) -> Result<Self, RenderError> {
        let sink = match FilmKind::of(path)? {
            FilmKind::Gif => Sink::Gif(Box::new(GifSink::create(path, frame_s)?)),
            FilmKind::Png => Sink::Png,
            FilmKind::Mp4 => Sink::Mp4(start_ffmpeg(path, size, frame_s)?),
        };
        Ok(Self { path: path.to_path_buf(), sink, frames: 0 })
    }

    /// Adds a picture.
    ///
    /// # Errors
    /// [`RenderError::Write`].
    pub fn add(&mut self, frame: &Frame) -> Result<(), RenderError> {
        match &mut self.sink {
            Sink::Gif(gif) => gif.add(frame).map_err(|e| failed(&self.path, e))?,
            Sink::Png => write_png(&numbered(&self.path, self.frames), frame)?,
            Sink::Mp4(child) => {
                let input = child.stdin.as_mut().expect("it was asked for");
                // A broken pipe says nothing; what ffmpeg said does.
                if input.write_all(&frame.rgb).is_err() {
                    return Err(failed(&self.path, end_ffmpeg(child)?));
                }
            }
        }
        self.frames += 1;
        Ok(())
    }

    /// Ends the film; the files that were written, for people.
    ///
    /// # Errors
    /// [`RenderError::Write`].
    pub fn finish(self) -> Result<String, RenderError> {
        match self.sink {
            Sink::Gif(gif) => gif.finish().map_err(|e| failed(&self.path, e))?,
            Sink::Png => {
                let last = numbered(&self.path, self.frames.saturating_sub(1));
                let first = numbered(&self.path, 0);
                return Ok(format!("{} to {}", first.display(), last.display()));
            }
            Sink::Mp4(mut child) => {
                let said = end_ffmpeg(&mut child)?;
                if !child.wait().is_ok_and(|status| status.success()) {
                    return Err(failed(&self.path, said));
                }
            }
        }
        Ok(self.path.display().to_string())
    }
}

fn failed(path: &Path, reason: impl ToString) -> RenderError {
    RenderError::Write { file: path.display().to_string(), reason: reason.to_string() }
}

/// `dir/name.png` → `dir/name-0007.png`.
fn numbered(path: &Path, n: usize) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{stem}-{n:04}.png"))
}

/// Writes one picture as PNG.
fn write_png(path: &Path, frame: &Frame) -> Result<(), RenderError> {
    let file = BufWriter::new(File::create(path).map_err(|e| failed(path, e))?);
    let mut encoder = png::Encoder::new(file, frame.width, frame.height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().map_err(|e| failed(path, e))?;
    writer.write_image_data(&frame.rgb).map_err(|e| failed(path, e))?;
    writer.finish().map_err(|e| failed(path, e))
}

fn start_ffmpeg(
    path: &Path,
    (width, height): (u32, u32),
    frame_s: f64,
) -> Result<Child, RenderError> {
    Command::new("ffmpeg")
        .args(["-y", "-loglevel", "error", "-f", "rawvideo", "-pixel_format", "rgb24"])
        .args(["-video_size", &format!("{width}x{height}")])
        .args(["-framerate", &format!("{}", 1.0 / frame_s), "-i", "-"])
        .args(["-pix_fmt", "yuv420p"])
        .arg(path)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| {
            failed(path, format!("ffmpeg cannot be started ({e}); install it, or name a .gif"))
        })
}

/// Lets ffmpeg end; what it said.
fn end_ffmpeg(child: &mut Child) -> Result<String, RenderError> {
    drop(child.stdin.take());
    let mut said = String::from("ffmpeg: ");
    if let Some(mut errors) = child.stderr.take() {
        errors.read_to_string(&mut said).map_err(|e| failed(Path::new("ffmpeg"), e))?;
    }
    Ok(said.trim().to_string())
}

/// A GIF with one palette for all frames, taken from the first, so that still parts stay still.
struct GifSink {
    /// Until the first frame gives the palette.
    file: Option<BufWriter<File>>,
    delay_cs: u16,
    open: Option<(gif::Encoder<BufWriter<File>>, Palette)>,
}

impl GifSink {
    fn create(path: &Path, frame_s: f64) -> Result<Self, RenderError> {
        let file = BufWriter::new(File::create(path).map_err(|e| failed(path, e))?);
        // Viewers take less than 2 hundredths for 10.
        let delay_cs = (frame_s * 100.0).round().clamp(2.0, 1000.0) as u16;
        Ok(Self { file: Some(file), delay_cs, open: None })
    }

    fn add(&mut self, frame: &Frame) -> Result<(), gif::EncodingError> {
        let (width, height) = (frame.width as u16, frame.height as u16);
        if let Some(file) = self.file.take() {
            let palette = Palette::of(frame);
            let mut encoder = gif::Encoder::new(file, width, height, &palette.colours)?;
            encoder.set_repeat(gif::Repeat::Infinite)?;
            self.open = Some((encoder, palette));
        }
        let Some((encoder, palette)) = &mut self.open else { return Ok(()) };
        encoder.write_frame(&gif::Frame {
            width,
            height,
            delay: self.delay_cs,
            buffer: palette.indices(&frame.rgb).into(),
            ..gif::Frame::default()
        })
    }

    fn finish(self) -> Result<(), gif::EncodingError> {
        match self.open {
            Some((encoder, _)) => encoder.into_inner()?.flush().map_err(Into::into),
            None => Ok(()),
        }
    }
}

/// 256 colours, and which of them is nearest to each of 32³.
struct Palette {
    colours: Vec<u8>,
    quantiser: color_quant::NeuQuant,
    nearest: Vec<Option<u8>>,
}

impl Palette {
    fn of(frame: &Frame) -> Self {
        let rgba: Vec<u8> =
            frame.rgb.chunks_exact(3).flat_map(|p| [p[0], p[1], p[2], 255]).collect();
        let quantiser = color_quant::NeuQuant::new(10, 256, &rgba);
        Self { colours: quantiser.color_map_rgb(), quantiser, nearest: vec![None; 1 << 15] }
    }

    fn indices(&mut self, rgb: &[u8]) -> Vec<u8> {
        rgb.chunks_exact(3)
            .map(|p| {
                let [r, g, b] = [p[0] >> 3, p[1] >> 3, p[2] >> 3].map(usize::from);
                let quantiser = &self.quantiser;
                *self.nearest[r << 10 | g << 5 | b].get_or_insert_with(|| {
                    let middle = |c: u8| c & 0xf8 | 4;
                    quantiser.index_of(&[middle(p[0]), middle(p[1]), middle(p[2]), 255]) as u8
                })
            })
            .collect()
    }
}
