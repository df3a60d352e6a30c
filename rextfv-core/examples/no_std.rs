//! Proof that the crate and all that it depends on do without the standard library: this links only
//! if nothing brings in `std`, which has a panic handler of its own.

// Without `std` there is no unwinding; in profiles that unwind, this is an empty library.
#![cfg(panic = "abort")]
#![no_std]

use core::alloc::{GlobalAlloc, Layout};
use core::panic::PanicInfo;

use rextfv_core::status_codec;

struct NoMemory;

// SAFETY: it never hands out memory, which an allocator is free to do.
unsafe impl GlobalAlloc for NoMemory {
    unsafe fn alloc(&self, _: Layout) -> *mut u8 {
        core::ptr::null_mut()
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

#[global_allocator]
static ALLOCATOR: NoMemory = NoMemory;

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {}
}

/// Whether there is a valid status record in a slot, as a unikernel might ask.
#[unsafe(no_mangle)]
pub extern "C" fn slot_is_valid(byte: u8) -> bool {
    status_codec::decode(&[byte]).is_ok()
}
