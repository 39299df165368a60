//! Work for several servers at once, handed back in order.

use std::thread;

use crate::error::Result;

/// Runs `work(0)` on this thread and `work(1..num_workers)` on others. Each returns what it did with its place in
/// the whole; all of it comes back by place, or the first worker's error.
pub fn in_order<T: Send>(
    num_workers: usize,
    work: impl Fn(usize) -> Result<Vec<(usize, Vec<T>)>> + Sync,
) -> Result<Vec<T>> {
    let work = &work;
    let mut done = thread::scope(|scope| {
        let others: Vec<_> = (1..num_workers).map(|worker| scope.spawn(move || work(worker))).collect();
        let mut done = work(0);
        for other in others {
            let theirs = other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            done = done.and_then(|mut done| {
                done.extend(theirs?);
                Ok(done)
            });
        }
        done
    })?;
    done.sort_by_key(|(place, _)| *place);
    Ok(done.into_iter().flat_map(|(_, results)| results).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn results_come_by_place_whoever_did_them() {
        let work = |worker: usize| Ok((0..3).rev().map(|n| (3 * n + worker, vec![3 * n + worker])).collect());
        assert_eq!(in_order(3, work).expect("no error"), (0..9).collect::<Vec<_>>());
        let failing = |worker: usize| match worker {
            1 => Err(Error::Interrupted),
            _ => Ok(vec![(worker, vec![0])]),
        };
        assert!(matches!(in_order(3, failing), Err(Error::Interrupted)));
    }
}
