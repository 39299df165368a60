//! The way to the images: a thread and a short queue of its own, for a picture takes as long as a thousand
//! prompts.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder, RgbImage};
use promptist::Error;
use promptist::clip::aesthetic::AestheticHead;
use promptist::clip::{Clip, cosine};
use promptist::generator::built_in::BuiltIn;
use promptist::generator::{Cancel, Generator, ImageRequest, ImageSettings};
use promptist::progress::Progress;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::error::ApiError;

/// Requests that are accepted and not done.
const MAX_PENDING: usize = 4;

/// Who makes images, and how.
pub struct Images {
    /// Who makes them.
    pub painter: Painter,
    /// Size, steps, guidance.
    pub settings: ImageSettings,
    /// Who scores them, if anyone.
    pub judges: Option<(Clip, AestheticHead)>,
}

/// Who makes images.
pub enum Painter {
    /// Our own model, which says how far it is.
    BuiltIn(Box<BuiltIn>),
    /// Servers, which do not.
    Servers(Box<dyn Generator>),
}

/// Which of the two prompts an image is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Which {
    UserInput,
    Prompt,
}

/// What is told on the way.
pub(crate) enum Told {
    Progress {
        which: Which,
        done: u64,
        of: u64,
    },
    Image {
        which: Which,
        png: Vec<u8>,
        scores: Option<Scores>,
    },
    /// The end: nothing comes after it.
    Over(Result<(), ApiError>),
}

/// What an image is worth.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Scores {
    aesthetic: f32,
    /// Its cosine with the user's input, for both images.
    clip: f32,
}

/// Two prompts to be drawn from the same noise.
pub(crate) struct Wanted {
    pub(crate) user_input: String,
    pub(crate) prompt: String,
    pub(crate) seed: u64,
}

/// What is told of one request. Dropping it calls the work off.
pub(crate) struct Telling {
    told: mpsc::UnboundedReceiver<Told>,
    cancelled: Arc<AtomicBool>,
}

/// Hands requests to the thread that draws.
pub(crate) struct ImageQueue {
    work: SyncSender<Work>,
    pending: Arc<Semaphore>,
    retry_after: Duration,
}

struct Work {
    wanted: Wanted,
    /// As many messages as there are steps, at most.
    tell: mpsc::UnboundedSender<Told>,
    cancelled: Arc<AtomicBool>,
    _permit: OwnedSemaphorePermit,
}

impl Telling {
    /// What comes next; none after the end.
    pub(crate) async fn next(&mut self) -> Option<Told> {
        self.told.recv().await
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }
}

impl ImageQueue {
    /// Starts the thread, which ends with the queue.
    pub(crate) fn start(images: Images, retry_after: Duration) -> io::Result<Self> {
        let (work, received) = sync_channel(MAX_PENDING);
        std::thread::Builder::new().name("images".to_owned()).spawn(move || images.run(&received))?;
        Ok(Self { work, pending: Arc::new(Semaphore::new(MAX_PENDING)), retry_after })
    }

    /// Has both prompts drawn.
    ///
    /// # Errors
    /// [`ApiError::Full`]; [`ApiError::Internal`] if the thread is gone.
    pub(crate) fn draw(&self, wanted: Wanted) -> Result<Telling, ApiError> {
        let full = || ApiError::Full(self.retry_after);
        let permit = Arc::clone(&self.pending).try_acquire_owned().map_err(|_| full())?;
        let cancelled = Arc::new(AtomicBool::new(false));
        let (tell, told) = mpsc::unbounded_channel();
        let work = Work { wanted, tell, cancelled: Arc::clone(&cancelled), _permit: permit };
        self.work.try_send(work).map_err(|error| match error {
            TrySendError::Full(_) => full(),
            TrySendError::Disconnected(_) => ApiError::Internal("the images' thread is gone".to_owned()),
        })?;
        Ok(Telling { told, cancelled })
    }

    /// Until nothing is pending.
    pub(crate) async fn idle(&self) {
        let _ = self.pending.acquire_many(MAX_PENDING as u32).await;
    }
}

impl Images {
    fn run(&self, received: &Receiver<Work>) {
        for Work { wanted, tell, cancelled, _permit } in received {
            let cancel = Cancel::following(cancelled);
            let result = match self.draw_both(&wanted, &tell, &cancel) {
                // Nobody is there any more.
                Err(Error::Interrupted) => continue,
                result => result.map_err(|error| match error {
                    Error::Tokenizer(reason) => ApiError::invalid("prompt", reason),
                    error => ApiError::Internal(error.to_string()),
                }),
            };
            let _ = tell.send(Told::Over(result));
        }
    }

    fn draw_both(
        &self,
        wanted: &Wanted,
        tell: &mpsc::UnboundedSender<Told>,
        cancel: &Cancel,
    ) -> Result<(), Error> {
        let text = match &self.judges {
            Some((clip, _)) => clip.encode_texts(&[&wanted.user_input])?.pop(),
            None => None,
        };
        for (which, prompt) in [(Which::UserInput, &wanted.user_input), (Which::Prompt, &wanted.prompt)] {
            cancel.check()?;
            let request = ImageRequest { prompt, seeds: &[wanted.seed], settings: &self.settings };
            let image = self.painter.draw(&request, &Steps { which, tell }, cancel)?;
            let scores = text.as_deref().map(|text| self.score(text, &image)).transpose()?.flatten();
            // Nobody minds if nobody looks any more.
            let _ = tell.send(Told::Image { which, png: png(&image)?, scores });
        }
        Ok(())
    }

    fn score(&self, text: &[f32], image: &RgbImage) -> Result<Option<Scores>, Error> {
        let Some((clip, head)) = &self.judges else { return Ok(None) };
        let features = clip.encode_images(std::slice::from_ref(image))?;
        let score = |feature: &Vec<f32>| -> Result<Scores, Error> {
            Ok(Scores { aesthetic: head.score(feature)?, clip: cosine(text, feature)? })
        };
        features.first().map(score).transpose()
    }
}

impl Painter {
    fn draw(
        &self,
        request: &ImageRequest<'_>,
        steps: &Steps<'_>,
        cancel: &Cancel,
    ) -> Result<RgbImage, Error> {
        let images = match self {
            Self::BuiltIn(model) => {
                let counted = Counted { steps, of: 0.into(), done: 0.into() };
                model.generate_with_progress(request, &counted, cancel)?
            }
            Self::Servers(servers) => {
                steps.tell(0, 1);
                servers.generate(request, cancel)?
            }
        };
        images.into_iter().next().ok_or_else(|| Error::Shape("no image came back".to_owned()))
    }
}

/// Where progress is told.
struct Steps<'a> {
    which: Which,
    tell: &'a mpsc::UnboundedSender<Told>,
}

impl Steps<'_> {
    fn tell(&self, done: u64, of: u64) {
        let _ = self.tell.send(Told::Progress { which: self.which, done, of });
    }
}

/// The library's progress as a count.
struct Counted<'a> {
    steps: &'a Steps<'a>,
    of: std::cell::Cell<u64>,
    done: std::cell::Cell<u64>,
}

impl Progress for Counted<'_> {
    fn begin(&self, _stage: &str, total: Option<u64>, _unit: &str) {
        self.of.set(total.unwrap_or(0));
        self.done.set(0);
        self.steps.tell(0, self.of.get());
    }

    fn advance(&self, n: u64, _note: &str) {
        self.done.set(self.done.get() + n);
        self.steps.tell(self.done.get(), self.of.get());
    }

    fn end(&self) {}
}

fn png(image: &RgbImage) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let encoder = PngEncoder::new(&mut bytes);
    let written = encoder.write_image(image.as_raw(), image.width(), image.height(), ExtendedColorType::Rgb8);
    written.map_err(|error| Error::Shape(format!("an image that is no PNG: {error}")))?;
    Ok(bytes)
}
