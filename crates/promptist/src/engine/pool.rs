//! Threads for a step: one closure run by all of them, with barriers inside.
//!
//! A step of a small model is a hundred phases of some ten microseconds, so nothing here sleeps
//! between two phases: threads spin at the [barrier](Worker::barrier), and share out a phase's work
//! by an atomic counter ([`Worker::claim`]), so that a core that is slowed does less. Between steps
//! they spin for [`SPIN_TIME`] and then park: an idle engine costs nothing.
//!
//! [`Parts`] is a buffer that the threads write together, each its own part of it.

use std::any::Any;
use std::hint::spin_loop;
use std::marker::PhantomData;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long threads wait awake for the next step. Searches take less between two steps, clients more.
const SPIN_TIME: Duration = Duration::from_micros(50);

/// Rounds of a spinning wait before the core is offered to others, some 5 microseconds: as long as a
/// phase's threads end apart. Whoever is waited for may be waiting for this very core, if others keep
/// the rest busy.
const SPINS_BEFORE_YIELD: u32 = 400;

/// `num_threads - 1` threads, and the caller of [`run`](Self::run) as one more.
pub struct Pool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// One of the threads of a step, as the step sees it.
pub struct Worker<'a> {
    shared: &'a Shared,
    idx: usize,
}

/// A step's closure, its lifetime erased.
#[derive(Clone, Copy)]
struct Job(*const (dyn Fn(&Worker<'_>) + Sync));

// SAFETY: a shared reference to something `Sync`, which may go to any thread; `Pool::run` keeps it
// alive until all threads are done with it.
unsafe impl Send for Job {}

/// On a cache line of its own (two, since they are fetched in pairs): what threads spin on must not
/// share a line with what others write.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded<T>(T);

struct Shared {
    num_threads: usize,
    /// Counts the steps; a new value is a new job, or the end.
    epoch: Padded<AtomicUsize>,
    job: Mutex<Option<Job>>,
    /// Threads, the caller not counted, that still run the job.
    running: Padded<AtomicUsize>,
    /// Threads at the barrier.
    arrived: Padded<AtomicUsize>,
    /// Counts the barriers passed.
    generation: Padded<AtomicUsize>,
    /// First item of the phase that nobody has claimed.
    unclaimed: Padded<AtomicUsize>,
    /// A thread panicked: nobody may wait for it.
    is_poisoned: AtomicBool,
    /// What it panicked with.
    payload: Mutex<Option<Box<dyn Any + Send>>>,
    is_closed: AtomicBool,
}

impl Pool {
    /// Starts the threads.
    ///
    /// # Errors
    /// Those of the system, if it has no more threads to give.
    pub fn new(num_threads: usize) -> std::io::Result<Self> {
        let num_threads = num_threads.max(1);
        let shared = Arc::new(Shared {
            num_threads,
            epoch: Padded::default(),
            job: Mutex::new(None),
            running: Padded::default(),
            arrived: Padded::default(),
            generation: Padded::default(),
            unclaimed: Padded::default(),
            is_poisoned: AtomicBool::new(false),
            payload: Mutex::new(None),
            is_closed: AtomicBool::new(false),
        });
        // Made first, so that the threads already started end if a later one cannot be.
        let mut pool = Self { shared: Arc::clone(&shared), threads: Vec::with_capacity(num_threads - 1) };
        for idx in 1..num_threads {
            let shared = Arc::clone(&shared);
            let thread = std::thread::Builder::new().name(format!("promptist-{idx}"));
            pool.threads.push(thread.spawn(move || shared.serve(idx))?);
        }
        Ok(pool)
    }

    /// Threads that take part in a step, the caller included.
    pub fn num_threads(&self) -> usize {
        self.shared.num_threads
    }

    /// Runs `step` once on every thread and returns when all are done.
    ///
    /// # Panics
    /// With what `step` panicked with, if it did on any thread. The pool can be used again.
    pub fn run(&mut self, step: &(dyn Fn(&Worker<'_>) + Sync)) {
        let shared = &*self.shared;
        shared.unclaimed.0.store(0, Ordering::Relaxed);
        let worker = Worker { shared, idx: 0 };
        if self.threads.is_empty() {
            return step(&worker);
        }
        // SAFETY: only the lifetime is made longer. Every thread has left the closure when `running`
        // is 0, which is waited for below before `step`'s borrow ends, whatever panics.
        let job: *const (dyn Fn(&Worker<'_>) + Sync + 'static) =
            unsafe { std::mem::transmute(std::ptr::from_ref(step)) };
        *lock(&shared.job) = Some(Job(job));
        shared.running.0.store(self.threads.len(), Ordering::Relaxed);
        shared.epoch.0.fetch_add(1, Ordering::Release);
        for thread in &self.threads {
            thread.thread().unpark();
        }

        shared.take_part(&worker, step);
        let mut spins = 0;
        while shared.running.0.load(Ordering::Acquire) > 0 {
            relax(&mut spins);
        }

        if shared.is_poisoned.swap(false, Ordering::Relaxed) {
            shared.arrived.0.store(0, Ordering::Relaxed);
            if let Some(payload) = lock(&shared.payload).take() {
                resume_unwind(payload);
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.is_closed.store(true, Ordering::Relaxed);
        self.shared.epoch.0.fetch_add(1, Ordering::Release);
        for thread in self.threads.drain(..) {
            thread.thread().unpark();
            // A thread that panicked has handed its panic to `run` already.
            let _ = thread.join();
        }
    }
}

impl Worker<'_> {
    /// Which thread this is, below [`num_threads`](Self::num_threads); the caller is 0.
    pub fn idx(&self) -> usize {
        self.idx
    }

    /// Waits until all threads are here. What they wrote before, all may read after.
    ///
    /// Also ends a phase of claims: the next [`claim`](Self::claim) starts again at 0.
    pub fn barrier(&self) {
        let shared = self.shared;
        if shared.num_threads == 1 {
            return shared.unclaimed.0.store(0, Ordering::Relaxed);
        }
        let generation = shared.generation.0.load(Ordering::Relaxed);
        if shared.arrived.0.fetch_add(1, Ordering::AcqRel) + 1 == shared.num_threads {
            shared.arrived.0.store(0, Ordering::Relaxed);
            shared.unclaimed.0.store(0, Ordering::Relaxed);
            shared.generation.0.store(generation.wrapping_add(1), Ordering::Release);
            return;
        }
        let mut spins = 0;
        while shared.generation.0.load(Ordering::Acquire) == generation {
            if shared.is_poisoned.load(Ordering::Relaxed) {
                // Past the panic hook: the thread that panicked has told.
                resume_unwind(Box::new("another thread of the step panicked"));
            }
            relax(&mut spins);
        }
    }

    /// Some of the phase's items `0..total` that no other thread gets, rising from call to call;
    /// `None` when all are given out. All threads of a phase pass the same total.
    ///
    /// Much at first and one by one at the end, so that threads end together and claims are few.
    pub fn claim(&self, total: usize) -> Option<Range<usize>> {
        let unclaimed = &self.shared.unclaimed.0;
        let mut start = unclaimed.load(Ordering::Relaxed);
        loop {
            if start >= total {
                return None;
            }
            let end = match self.shared.num_threads {
                1 => total,
                n => start + (total - start).div_ceil(2 * n),
            };
            match unclaimed.compare_exchange_weak(start, end, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Some(start..end),
                Err(now) => start = now,
            }
        }
    }
}

impl Shared {
    /// The life of a thread: wait for a job, take part in it, say so.
    fn serve(&self, idx: usize) {
        let worker = Worker { shared: self, idx };
        let mut epoch = 0;
        loop {
            epoch = self.next_epoch(epoch);
            if self.is_closed.load(Ordering::Relaxed) {
                return;
            }
            let job = *lock(&self.job);
            if let Some(Job(step)) = job {
                // SAFETY: `Pool::run` set the job before this epoch, and keeps the closure alive until
                // `running` has fallen to 0, below.
                self.take_part(&worker, unsafe { &*step });
            }
            self.running.0.fetch_sub(1, Ordering::Release);
        }
    }

    fn next_epoch(&self, last: usize) -> usize {
        let changed = || {
            let epoch = self.epoch.0.load(Ordering::Acquire);
            (epoch != last).then_some(epoch)
        };
        let start = Instant::now();
        loop {
            for _ in 0..64 {
                if let Some(epoch) = changed() {
                    return epoch;
                }
                spin_loop();
            }
            if start.elapsed() > SPIN_TIME {
                break;
            }
        }
        loop {
            if let Some(epoch) = changed() {
                return epoch;
            }
            // Returns at once if `run` has unparked this thread since it last parked.
            std::thread::park();
        }
    }

    /// Runs the step; a panic is kept for `run`, and frees whoever waits at a barrier.
    fn take_part(&self, worker: &Worker<'_>, step: &(dyn Fn(&Worker<'_>) + Sync)) {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| step(worker))) {
            // The first panic is the cause; the others are those it freed.
            lock(&self.payload).get_or_insert(payload);
            self.is_poisoned.store(true, Ordering::Relaxed);
        }
    }
}

/// One round of a spinning wait.
fn relax(spins: &mut u32) {
    if *spins < SPINS_BEFORE_YIELD {
        *spins += 1;
        spin_loop();
    } else {
        std::thread::yield_now();
    }
}

/// Locks what holds no invariant that a panic could break.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A buffer that the threads of a step share, each writing parts of it that no other touches.
///
/// This is where the borrow checker's view ends: which thread owns what follows from the phases of a
/// step, and every call says why its part is its own.
pub struct Parts<'a, T> {
    start: *mut T,
    len: usize,
    buffer: PhantomData<&'a mut [T]>,
}

// SAFETY: as `&mut [T]` handed out in parts; the contracts of `part` and `part_mut` keep them apart.
unsafe impl<T: Send + Sync> Sync for Parts<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Send for Parts<'_, T> {}

impl<'a, T> Parts<'a, T> {
    /// Shares `buffer` for as long as it is borrowed.
    pub fn new(buffer: &'a mut [T]) -> Self {
        Self { start: buffer.as_mut_ptr(), len: buffer.len(), buffer: PhantomData }
    }

    /// All of it, to read.
    ///
    /// # Safety
    /// As [`part`](Self::part), for the whole buffer.
    pub unsafe fn all(&self) -> &[T] {
        // SAFETY: the contract is that of this function.
        unsafe { self.part(0..self.len) }
    }

    /// A part to read.
    ///
    /// # Safety
    /// While the slice lives, nobody writes to the part: what was written before a barrier is read
    /// after it.
    ///
    /// # Panics
    /// If `range` does not lie within the buffer.
    pub unsafe fn part(&self, range: Range<usize>) -> &[T] {
        assert!(range.start <= range.end && range.end <= self.len, "{range:?} of {}", self.len);
        // SAFETY: within the buffer, as was just checked, which is borrowed for 'a; by the contract
        // nobody writes to it.
        unsafe { std::slice::from_raw_parts(self.start.add(range.start), range.len()) }
    }

    /// A part to write.
    ///
    /// # Safety
    /// While the slice lives, nobody else reads or writes any of the part: it follows from what this
    /// thread has claimed, or from the thread's own index.
    ///
    /// # Panics
    /// If `range` does not lie within the buffer.
    #[expect(clippy::mut_from_ref, reason = "the contract is what the signature cannot say")]
    pub unsafe fn part_mut(&self, range: Range<usize>) -> &mut [T] {
        assert!(range.start <= range.end && range.end <= self.len, "{range:?} of {}", self.len);
        // SAFETY: within the buffer, as was just checked, which is borrowed mutably for 'a; by the
        // contract nobody else has a reference into the part.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each round is two phases: claim and write, then read what all have written.
    fn rounds_of_sums(num_threads: usize) {
        let mut pool = Pool::new(num_threads).expect("threads");
        for total in [1, 2, 7, 100, if cfg!(miri) { 101 } else { 1000 }] {
            let mut items = vec![0_usize; total];
            let mut sums = vec![0_usize; num_threads];
            let (shared_items, shared_sums) = (Parts::new(&mut items), Parts::new(&mut sums));
            pool.run(&|worker| {
                for round in 1..=20 {
                    while let Some(range) = worker.claim(total) {
                        // SAFETY: the range is this thread's by its claim.
                        for item in unsafe { shared_items.part_mut(range) } {
                            *item += round;
                        }
                    }
                    worker.barrier();
                    // SAFETY: nobody writes until the next barrier.
                    let sum: usize = unsafe { shared_items.part(0..total) }.iter().sum();
                    // SAFETY: by the thread's index.
                    let own = unsafe { shared_sums.part_mut(worker.idx()..worker.idx() + 1) };
                    own[0] += sum;
                    worker.barrier();
                }
            });
            let expected: usize = (1..=20).map(|round| total * round * (round + 1) / 2).sum();
            assert!(items.iter().all(|&item| item == 210), "{items:?}");
            assert!(sums.iter().all(|&sum| sum == expected), "{sums:?} instead of {expected}");
        }
    }

    #[test]
    fn every_item_is_claimed_once_and_seen_by_all() {
        for num_threads in [1, 2, 3, 5] {
            rounds_of_sums(num_threads);
        }
    }

    #[test]
    fn threads_that_have_parked_come_back() {
        let mut pool = Pool::new(3).expect("threads");
        for _ in 0..5 {
            std::thread::sleep(SPIN_TIME * 20);
            let count = AtomicUsize::new(0);
            pool.run(&|worker| {
                worker.barrier();
                count.fetch_add(1, Ordering::Relaxed);
            });
            assert_eq!(count.into_inner(), 3);
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_and_leaves_the_pool_usable() {
        for culprit in 0..3 {
            let mut pool = Pool::new(3).expect("threads");
            let panicked = catch_unwind(AssertUnwindSafe(|| {
                pool.run(&|worker| {
                    if worker.idx() == culprit {
                        resume_unwind(Box::new("the cause"));
                    }
                    worker.barrier();
                });
            }));
            let payload = panicked.expect_err("the panic comes out");
            assert_eq!(payload.downcast_ref(), Some(&"the cause"));

            let count = AtomicUsize::new(0);
            pool.run(&|worker| {
                worker.barrier();
                count.fetch_add(1, Ordering::Relaxed);
            });
            assert_eq!(count.into_inner(), 3);
        }
    }
}
