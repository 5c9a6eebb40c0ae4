//! A file that frames go to.

use std::{
    io::{BufWriter, Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use sog_runtime::os::files::{Output, Outputs, Unfinished};

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

/// Where a film goes.
#[derive(Clone, Debug)]
pub struct FilmFiles {
    kind: FilmKind,
    path: PathBuf,
    /// One, or one a frame.
    outputs: Vec<Output>,
}

impl FilmFiles {
    /// The places of a film of at most so many frames: one file, or one a frame.
    ///
    /// # Errors
    /// [`RenderError::Format`], [`RenderError::Output`].
    pub fn claim(outputs: &mut Outputs, path: &Path, frames: usize) -> Result<Self, RenderError> {
        let kind = FilmKind::of(path)?;
        let outputs = match kind {
            FilmKind::Gif | FilmKind::Mp4 => vec![outputs.claim(path)?],
            FilmKind::Png => {
                let claim = |n| outputs.claim(&numbered(path, n));
                (0..frames).map(claim).collect::<Result<_, _>>()?
            }
        };
        Ok(Self { kind, path: path.to_path_buf(), outputs })
    }
}

/// A film being written: it is there in full when it is finished, or not at all.
pub struct Film<'a> {
    files: &'a FilmFiles,
    sink: Sink,
    frames: usize,
}

enum Sink {
    Gif(Box<GifSink>),
    Png,
    Mp4(Child, Unfinished),
}

impl<'a> Film<'a> {
    /// Begins a film of pictures of one size, `frame_s` seconds each.
    ///
    /// # Errors
    /// [`RenderError::Write`].
    pub fn create(
        files: &'a FilmFiles,
        size: (u32, u32),
        frame_s: f64,
    ) -> Result<Self, RenderError> {
        let create = || {
            let output = files.outputs.first().ok_or_else(|| failed(&files.path, "no place"))?;
            output.create().map_err(|e| failed(&files.path, e))
        };
        let sink = match files.kind {
            FilmKind::Gif => Sink::Gif(Box::new(GifSink::new(create()?, frame_s))),
            FilmKind::Png => Sink::Png,
            FilmKind::Mp4 => {
                let file = create()?;
                Sink::Mp4(start_ffmpeg(file.path(), size, frame_s)?, file)
            }
        };
        Ok(Self { files, sink, frames: 0 })
    }

    /// Adds a picture.
    ///
    /// # Errors
    /// [`RenderError::Write`].
    pub fn add(&mut self, frame: &Frame) -> Result<(), RenderError> {
        let path = &self.files.path;
        match &mut self.sink {
            Sink::Gif(gif) => gif.add(frame).map_err(|e| failed(path, e))?,
            Sink::Png => {
                let output = self.files.outputs.get(self.frames);
                let output = output.ok_or_else(|| failed(path, "more frames than places"))?;
                let written = png_bytes(frame).map_err(std::io::Error::other);
                let written = written.and_then(|bytes| output.write(&bytes));
                written.map_err(|e| failed(output.path(), e))?;
            }
            Sink::Mp4(child, _) => {
                let input = child.stdin.as_mut().expect("it was asked for");
                // A broken pipe says nothing; what ffmpeg said does.
                if input.write_all(&frame.rgb).is_err() {
                    return Err(failed(path, end_ffmpeg(child)?));
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
        let path = &self.files.path;
        match self.sink {
            Sink::Gif(gif) => gif.finish().map_err(|e| failed(path, e))?,
            Sink::Png => {
                let last = numbered(path, self.frames.saturating_sub(1));
                let first = numbered(path, 0);
                return Ok(format!("{} to {}", first.display(), last.display()));
            }
            Sink::Mp4(mut child, file) => {
                let said = end_ffmpeg(&mut child)?;
                if !child.wait().is_ok_and(|status| status.success()) {
                    return Err(failed(path, said));
                }
                file.finish().map_err(|e| failed(path, e))?;
            }
        }
        Ok(path.display().to_string())
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

/// One picture as PNG.
fn png_bytes(frame: &Frame) -> Result<Vec<u8>, png::EncodingError> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, frame.width, frame.height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&frame.rgb)?;
    writer.finish()?;
    Ok(bytes)
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
        // The name on the way ends in no format.
        .args(["-pix_fmt", "yuv420p", "-f", "mp4"])
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
    file: Option<BufWriter<Unfinished>>,
    delay_cs: u16,
    open: Option<(gif::Encoder<BufWriter<Unfinished>>, Palette)>,
}

impl GifSink {
    fn new(file: Unfinished, frame_s: f64) -> Self {
        // Viewers take less than 2 hundredths for 10.
        let delay_cs = (frame_s * 100.0).round().clamp(2.0, 1000.0) as u16;
        Self { file: Some(BufWriter::new(file)), delay_cs, open: None }
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

    fn finish(self) -> std::io::Result<()> {
        let file = match (self.open, self.file) {
            (Some((encoder, _)), _) => encoder.into_inner().map_err(std::io::Error::other)?,
            (None, Some(file)) => file,
            (None, None) => return Ok(()),
        };
        file.into_inner().map_err(std::io::IntoInnerError::into_error)?.finish().map(drop)
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
