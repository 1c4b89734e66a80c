//! The process's allocator: mimalloc by its plain entry points, which its own crate leaves for the aligned ones even
//! where malloc's alignment does. That costs a third more instructions an allocation.

use std::alloc::{GlobalAlloc, Layout};

use libmimalloc_sys::{
    mi_free, mi_malloc, mi_malloc_aligned, mi_realloc, mi_realloc_aligned, mi_zalloc, mi_zalloc_aligned,
};

/// Bytes that every block of at least this size is aligned to (mimalloc's `MI_MAX_ALIGN_SIZE`).
const ALIGN: usize = 16;

pub(crate) struct Mimalloc;

/// Blocks below [`ALIGN`] are only aligned to their size rounded up to a word.
fn is_plain(size: usize, align: usize) -> bool {
    align <= size_of::<usize>() || (align <= ALIGN && size >= ALIGN)
}

// SAFETY: mimalloc is a correct allocator, whose pointers all of its entry points take; each is called with sizes and
// alignments of a valid `Layout`, and the plain ones only where they promise the alignment.
unsafe impl GlobalAlloc for Mimalloc {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let (size, align) = (layout.size(), layout.align());
        // SAFETY: any size may be asked for, and a layout's alignment is a power of two.
        unsafe { if is_plain(size, align) { mi_malloc(size) } else { mi_malloc_aligned(size, align) } }.cast()
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let (size, align) = (layout.size(), layout.align());
        // SAFETY: as in `alloc`.
        unsafe { if is_plain(size, align) { mi_zalloc(size) } else { mi_zalloc_aligned(size, align) } }.cast()
    }

    unsafe fn dealloc(&self, block: *mut u8, _: Layout) {
        // SAFETY: the caller got the block from this allocator.
        unsafe { mi_free(block.cast()) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let (block, align) = (block.cast(), layout.align());
        // SAFETY: as in `alloc` and `dealloc`.
        unsafe {
            if is_plain(size, align) {
                mi_realloc(block, size)
            } else {
                mi_realloc_aligned(block, size, align)
            }
        }
        .cast()
    }
}
