//! Large pages for large buffers: fewer faults on first touch, fewer misses in the table of pages.

/// Asks for huge pages for what is large enough, before it is first touched. Nothing depends on the answer.
#[cfg_attr(not(target_os = "linux"), allow(unused_variables))]
pub(crate) fn ask_for_huge_pages<T>(storage: &mut [T]) {
    #[cfg(all(target_os = "linux", not(miri)))]
    {
        const PAGE: usize = 4096;
        const HUGE_PAGE: usize = 2 << 20;
        let start = storage.as_mut_ptr().cast::<u8>();
        let offset = start.align_offset(PAGE);
        let bytes = size_of_val(storage).saturating_sub(offset) / PAGE * PAGE;
        if bytes >= 2 * HUGE_PAGE {
            // SAFETY: whole pages within the vector; the advice changes nothing that a program can see.
            unsafe { libc::madvise(start.add(offset).cast(), bytes, libc::MADV_HUGEPAGE) };
        }
    }
}
