//! Large buffers that a training uses again in its next step: fresh memory costs the operating system a page's
//! clearing for each page, which added up to an eighth of a step.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::zeros;

/// Smaller buffers come from the allocator's own stock.
const LEAST: usize = 1 << 14;
/// Most numbers kept: 1 GiB, a step of GPT-2 124M.
const MOST: usize = 1 << 28;

#[derive(Default)]
struct Stock {
    /// Who wants buffers to be kept.
    holders: usize,
    /// Those kept, oldest first.
    buffers: VecDeque<Vec<f32>>,
    /// Numbers that they have room for.
    total: usize,
}

static STOCK: Mutex<Stock> = Mutex::new(Stock { holders: 0, buffers: VecDeque::new(), total: 0 });

fn stock() -> MutexGuard<'static, Stock> {
    // Buffers hold numbers of any value: no panic leaves them in a bad state.
    STOCK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// As long as one of these lives, buffers are kept for others.
pub struct KeepBuffers(());

impl KeepBuffers {
    #[allow(clippy::new_without_default)] // it does something
    pub fn new() -> Self {
        stock().holders += 1;
        Self(())
    }
}

impl Drop for KeepBuffers {
    fn drop(&mut self) {
        let mut stock = stock();
        stock.holders -= 1;
        if stock.holders == 0 {
            stock.total = 0;
            stock.buffers = VecDeque::new();
        }
    }
}

/// Room for `len` numbers, of any value.
pub fn buffer(len: usize) -> Vec<f32> {
    let mut stock = stock();
    // The smallest that is large enough, and not so large that it is missed elsewhere.
    let fitting = stock.buffers.iter().enumerate().filter(|(_, b)| (len..=2 * len).contains(&b.capacity()));
    let Some((idx, _)) = fitting.min_by_key(|(_, buffer)| buffer.capacity()) else {
        drop(stock);
        return zeros(len);
    };
    let mut buffer = stock.buffers.remove(idx).unwrap_or_default();
    stock.total -= buffer.capacity();
    drop(stock);
    buffer.resize(len, 0.0);
    buffer
}

/// Zeros.
pub fn zeroed(len: usize) -> Vec<f32> {
    let mut buffer = buffer(len);
    buffer.fill(0.0);
    buffer
}

/// Keeps a buffer for others, if anybody wants that; the oldest go when there are too many.
pub fn recycle(buffer: Vec<f32>) {
    let mut stock = stock();
    if stock.holders == 0 || buffer.capacity() < LEAST {
        return;
    }
    stock.total += buffer.capacity();
    stock.buffers.push_back(buffer);
    while stock.total > MOST {
        let oldest = stock.buffers.pop_front().unwrap_or_default();
        stock.total -= oldest.capacity();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_where_it_fits() {
        let keep = KeepBuffers::new();
        // A size of its own: tests run beside each other.
        let len = 3_234_567;
        let place = |buffer: &Vec<f32>| buffer.as_ptr();
        let first = zeros(len);
        let at = place(&first);
        recycle(first);
        let shorter = buffer(len - 5);
        assert_eq!((place(&shorter), shorter.len()), (at, len - 5));
        recycle(shorter);
        let small = buffer(len / 4);
        assert_ne!(place(&small), at);
        let mut again = buffer(len);
        assert_eq!((place(&again), again.len()), (at, len));
        again.fill(7.0);
        recycle(again);
        assert!(zeroed(len).iter().all(|&x| x == 0.0));
        drop(keep);
    }
}
