//! The convolution as a product: a row of the left factor is an output channel's weights, a column of the
//! right one what an output pixel sees. Pixels are gathered panel by panel, never all at once.

use std::ops::Range;

use super::kernel::{COLUMNS, Right};
use super::matmul::{Matrix, Onto, RightFactor, matmul_parallel};
use super::zeros;

/// Pixels of a picture from which on it is a product of its own; of smaller ones a batch is one product, whose
/// rows are then put where they belong.
const LEAST_PIXELS: usize = 512;

/// What is convolved with what.
#[derive(Clone, Copy)]
pub struct Shape {
    /// B.
    pub batch: usize,
    pub c_in: usize,
    pub c_out: usize,
    /// H and W.
    pub size: [usize; 2],
    pub kernel: usize,
    pub stride: usize,
    /// Zeros around the picture.
    pub padding: usize,
}

impl Shape {
    /// H' and W'.
    pub fn output_size(&self) -> [usize; 2] {
        self.size.map(|len| (len + 2 * self.padding - self.kernel) / self.stride + 1)
    }
}

/// `[B, in, H, W]` to `[B, out, H', W']`.
///
/// `weight` is `[out, in, kernel, kernel]`.
pub fn conv2d(x: &[f32], weight: &[f32], bias: &[f32], shape: Shape) -> Vec<f32> {
    let Shape { batch, c_in, c_out, kernel, .. } = shape;
    let [height, width] = shape.output_size();
    let pixels = height * width;
    let terms = c_in * kernel * kernel;
    let weight = Matrix::rows(weight, c_out, terms, terms);
    let mut output = zeros(batch * c_out * pixels);
    if pixels >= LEAST_PIXELS || batch == 1 {
        let pictures = x.chunks_exact(x.len() / batch.max(1));
        for (output, x) in output.chunks_exact_mut(c_out * pixels).zip(pictures) {
            let patches = Patches { x, shape };
            matmul_parallel(output, [c_out, terms, pixels], weight, &patches, Onto::Rows(bias));
        }
        return output;
    }
    let mut together = zeros(output.len()); // [out, B, H' · W']
    let patches = Patches { x, shape };
    matmul_parallel(&mut together, [c_out, terms, batch * pixels], weight, &patches, Onto::Rows(bias));
    for (channel, rows) in together.chunks_exact(batch * pixels).enumerate() {
        for (picture, row) in rows.chunks_exact(pixels).enumerate() {
            output[(picture * c_out + channel) * pixels..][..pixels].copy_from_slice(row);
        }
    }
    output
}

/// What each output pixel of each picture sees: a column each.
struct Patches<'a> {
    /// `[B, in, H, W]`.
    x: &'a [f32],
    shape: Shape,
}

/// Output pixels of one row of one picture, in one panel.
struct Run {
    /// Which, of those that are packed.
    panel: usize,
    /// Their place in it.
    place: Range<usize>,
    picture: usize,
    y: usize,
    /// The first.
    x: usize,
}

impl Patches<'_> {
    /// The pixels of some panels, row by row.
    fn runs(&self, panels: Range<usize>) -> Vec<Run> {
        let [height, width] = self.shape.output_size();
        let first = panels.start * COLUMNS;
        let end = (panels.end * COLUMNS).min(self.x.len() / self.picture_len() * height * width);
        let mut runs = Vec::new();
        let mut pixel = first;
        while pixel < end {
            let (row, x, place) = (pixel / width, pixel % width, pixel % COLUMNS);
            let len = (width - x).min(COLUMNS - place).min(end - pixel);
            runs.push(Run {
                panel: (pixel - first) / COLUMNS,
                place: place..place + len,
                picture: row / height,
                y: row % height,
                x,
            });
            pixel += len;
        }
        runs
    }

    fn picture_len(&self) -> usize {
        self.shape.c_in * self.shape.size[0] * self.shape.size[1]
    }
}

impl RightFactor for Patches<'_> {
    fn pack(&self, panels: Range<usize>, terms: Range<usize>, into: &mut [Right]) {
        let Shape { kernel, stride, padding, size: [height, width], .. } = self.shape;
        let runs = self.runs(panels);
        let len = terms.len();
        // Term by term: what lies together in memory, in all panels, is read together.
        for (idx, term) in terms.enumerate() {
            let (channel, place) = (term / (kernel * kernel), term % (kernel * kernel));
            let (kernel_y, kernel_x) = (place / kernel, place % kernel);
            for run in &runs {
                let into = &mut into[run.panel * len + idx].0[run.place.clone()];
                // Above the picture this wraps and is past its end as well.
                let y = (run.y * stride + kernel_y).wrapping_sub(padding);
                if y >= height {
                    into.fill(0.0);
                    continue;
                }
                let start = run.picture * self.picture_len() + (channel * height + y) * width;
                gather(&self.x[start..][..width], run.x * stride + kernel_x, stride, padding, into);
            }
        }
    }
}

/// Every `stride`-th pixel of a row from `first` on, counted from the beginning of the padding.
#[inline]
fn gather(row: &[f32], first: usize, stride: usize, padding: usize, into: &mut [f32]) {
    if stride > 1 {
        for (idx, into) in into.iter_mut().enumerate() {
            *into = row.get((first + idx * stride).wrapping_sub(padding)).copied().unwrap_or(0.0);
        }
        return;
    }
    if let Some(from) = first.checked_sub(padding)
        && let Some(seen) = row[from.min(row.len())..].first_chunk::<COLUMNS>()
        && let Ok(into) = <&mut [f32; COLUMNS]>::try_from(&mut *into)
    {
        // The most frequent case by far: no call, no zeros.
        *into = *seen;
        return;
    }
    let before = padding.saturating_sub(first).min(into.len());
    let (zeros, into) = into.split_at_mut(before);
    zeros.fill(0.0);
    let row = &row[(first + before).saturating_sub(padding).min(row.len())..];
    let (seen, zeros) = into.split_at_mut(row.len().min(into.len()));
    seen.copy_from_slice(&row[..seen.len()]);
    zeros.fill(0.0);
}
