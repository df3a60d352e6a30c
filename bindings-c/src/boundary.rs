//! The boundary to C: every pointer that comes in or goes out passes here, and nowhere else.
//!
//! The functions here are safe to call for this crate alone, whose exports pass on what a C caller
//! gave them. The caller's side of the contract is in the header: a pointer is NULL, or leads to
//! what the function's documentation says for as long as the call lasts.

use std::any::Any;
use std::ffi::{CStr, CString, OsStr, c_char, c_int, c_void};
use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use nlxtp_host::error::{Error, ErrorKind, Result};

use crate::error::{Failure, nlxtp_error, nlxtp_result};

/// What an opaque type of the header stands for.
pub trait Handle {
    /// What is behind the pointer.
    type Inner: Send + Sync;
    /// The type's name in the header.
    const NAME: &'static str;
    /// Tells handles of this type from any other memory.
    const TAG: u64;
}

/// What a handle leads to.
#[repr(C)]
struct Tagged<T> {
    tag: u64,
    inner: T,
}

/// The tag of a handle that was freed, for as long as nobody else uses the memory.
const FREED: u64 = 0;

/// A new handle, which the caller frees.
pub fn give<H: Handle>(inner: H::Inner) -> *mut H {
    Box::into_raw(Box::new(Tagged { tag: H::TAG, inner })).cast()
}

fn is_handle<H: Handle>(handle: *const H) -> bool {
    let tag = handle.cast::<u64>();
    // SAFETY: not NULL and aligned, it leads to a handle of this library's, which begins with a
    // tag; one that was freed is the caller's mistake, and is caught only for as long as its memory
    // was not given away.
    !tag.is_null() && tag.is_aligned() && unsafe { tag.read_volatile() } == H::TAG
}

/// What a handle leads to.
pub fn borrow<'a, H: Handle>(handle: *const H) -> Result<&'a H::Inner> {
    if handle.is_null() {
        return Err(invalid(format!("the {} is NULL", H::NAME)));
    }
    if !is_handle(handle) {
        return Err(invalid(format!("the pointer leads to no {}, or to one that was freed", H::NAME)));
    }
    // SAFETY: the tag says that `give` has made it; the caller keeps it for the length of the call,
    // and what is inside may be shared between threads.
    Ok(unsafe { &(*handle.cast::<Tagged<H::Inner>>()).inner })
}

/// The same where NULL means that there is none.
pub fn borrow_optional<'a, H: Handle>(handle: *const H) -> Result<Option<&'a H::Inner>> {
    if handle.is_null() { Ok(None) } else { borrow(handle).map(Some) }
}

/// Frees a handle. NULL is left alone, and so is what is no such handle.
pub fn free<H: Handle>(handle: *mut H) {
    if !is_handle(handle.cast_const()) {
        return;
    }
    let tagged = handle.cast::<Tagged<H::Inner>>();
    // SAFETY: as in `borrow`; the caller does not use it any more.
    let dropped = catch_unwind(AssertUnwindSafe(|| unsafe {
        (&raw mut (*tagged).tag).write_volatile(FREED);
        drop(Box::from_raw(tagged));
    }));
    // Nobody could be told; a panic is printed by Rust's hook.
    drop(dropped);
}

/// A handle that the library itself keeps, for as long as what it belongs to.
pub struct Owned<H: Handle>(*mut H);

// SAFETY: it is what a box would be; what is inside goes to other threads, says its bound.
unsafe impl<H: Handle> Send for Owned<H> {}
// SAFETY: only the pointer can be had by reference; what is inside may be shared, says its bound.
unsafe impl<H: Handle> Sync for Owned<H> {}

impl<H: Handle> Owned<H> {
    pub fn new(inner: H::Inner) -> Self {
        Self(give(inner))
    }

    /// The handle, to be lent to the caller.
    pub fn get(&self) -> *const H {
        self.0
    }
}

impl<H: Handle> Drop for Owned<H> {
    fn drop(&mut self) {
        free(self.0);
    }
}

/// A structure of the header that may grow: it begins with its size as the caller knows it.
///
/// # Safety
/// The type is `repr(C)`, begins with a `usize`, and any bytes in its other fields are valid, zeros
/// meaning "as usual".
pub unsafe trait Growable: Copy {
    /// The structure's name in the header.
    const NAME: &'static str;
    /// What stands for fields that the caller does not know: zeros.
    const ZEROED: Self;
}

/// Says that a structure may grow, and what it is when nothing was set.
macro_rules! growable {
    ($type:ident, $zeroed:expr) => {
        // SAFETY: `repr(C)` with its size first. The other fields are integers, pointers and optional
        // function pointers, for which every pattern that a C compiler can put there is valid.
        unsafe impl $crate::boundary::Growable for $type {
            const NAME: &'static str = stringify!($type);
            const ZEROED: Self = $zeroed;
        }
    };
}
pub(crate) use growable;

/// A structure that the caller may have filled; `None` for NULL.
///
/// A caller of an older version knows fewer fields, and the others are as usual. One of a newer
/// version may know more, as long as it leaves them zero.
pub fn read_struct<T: Growable>(pointer: *const T) -> Result<Option<T>> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: it leads to a structure that begins with its size.
    let size = unsafe { pointer.cast::<usize>().read_unaligned() };
    let known = size_of::<T>();
    // A megabyte is no size of ours, but what stands in uninitialised memory.
    if size < size_of::<usize>() || size > 1 << 20 {
        return Err(invalid(format!("the size in {} is {size}; set it to sizeof({})", T::NAME, T::NAME)));
    }
    let mut value = T::ZEROED;
    // SAFETY: both sides hold so many bytes, any of which are valid for the type; what the caller's
    // has beyond them is only read.
    let rest = unsafe {
        std::ptr::copy_nonoverlapping(pointer.cast::<u8>(), (&raw mut value).cast::<u8>(), size.min(known));
        std::slice::from_raw_parts(pointer.cast::<u8>().add(size.min(known)), size.saturating_sub(known))
    };
    if rest.iter().any(|&byte| byte != 0) {
        return Err(invalid(format!("the {} asks for what this version of the library does not know", T::NAME)));
    }
    Ok(Some(value))
}

/// Text that the caller gave, without its end.
pub fn bytes<'a>(text: *const c_char, argument: &str) -> Result<&'a [u8]> {
    if text.is_null() {
        return Err(invalid(format!("the {argument} is NULL")));
    }
    // SAFETY: a string that ends with NUL and stays as it is for the length of the call.
    Ok(unsafe { CStr::from_ptr(text) }.to_bytes())
}

/// A path that the caller gave: any bytes.
pub fn path<'a>(text: *const c_char, argument: &str) -> Result<&'a Path> {
    match bytes(text, argument)? {
        [] => Err(invalid(format!("the {argument} is empty"))),
        path => Ok(Path::new(OsStr::from_bytes(path))),
    }
}

/// A text that must be UTF-8.
pub fn text<'a>(text: *const c_char, argument: &str) -> Result<&'a str> {
    str::from_utf8(bytes(text, argument)?).map_err(|_| invalid(format!("the {argument} is not UTF-8")))
}

/// A buffer of the caller's to be filled.
pub fn buffer<'a>(start: *mut c_void, length: usize) -> Result<&'a mut [u8]> {
    if length == 0 {
        return Ok(&mut []);
    }
    if start.is_null() {
        return Err(invalid("the buffer is NULL".into()));
    }
    let length = length.min(isize::MAX.unsigned_abs());
    // SAFETY: the caller's, so long and for nobody else during the call. It may not have been
    // initialised, so it is, before anything reads it.
    unsafe {
        start.cast::<u8>().write_bytes(0, length);
        Ok(std::slice::from_raw_parts_mut(start.cast(), length))
    }
}

/// Where a result goes.
pub struct Out<T>(*mut T);

impl<T> Out<T> {
    /// A place that there must be.
    pub fn new(place: *mut T, argument: &str) -> Result<Self> {
        if place.is_null() {
            Err(invalid(format!("the {argument} has nowhere to go: it is NULL")))
        } else {
            Ok(Self(place))
        }
    }

    /// A place that may be NULL: then nobody wants the result.
    pub fn optional(place: *mut T) -> Self {
        Self(place)
    }

    /// Gives the result.
    pub fn set(self, value: impl FnOnce() -> T) {
        if !self.0.is_null() {
            // SAFETY: the caller's variable; what it held is overwritten and not dropped.
            unsafe { self.0.write(value()) };
        }
    }
}

/// Text that the caller frees with `nlxtp_string_free`. What stands behind a NUL is lost.
pub fn give_text(text: &str) -> *mut c_char {
    c_text(text).into_raw()
}

/// Frees what [`give_text`] gave.
pub fn free_text(text: *mut c_char) {
    if !text.is_null() {
        // SAFETY: it came from `give_text`, and the caller does not use it any more.
        drop(unsafe { CString::from_raw(text) });
    }
}

/// Text as C has it, cut before the first NUL.
pub fn c_text(text: &str) -> CString {
    let end = text.find('\0').unwrap_or(text.len());
    CString::new(&text[..end]).unwrap_or_default()
}

/// Text to be lent to the caller; NULL where there is none.
pub fn pointer(text: Option<&CString>) -> *const c_char {
    text.map_or(std::ptr::null(), |text| text.as_ptr())
}

/// A descriptor of our own to what the caller's leads to.
pub fn duplicate(descriptor: c_int) -> io::Result<File> {
    // SAFETY: not negative, and open for the length of the call, says the caller; if it is not, the
    // system refuses to duplicate it.
    let borrowed = unsafe { BorrowedFd::borrow_raw(descriptor) };
    borrowed.try_clone_to_owned().map(File::from)
}

/// What the caller wants to get back in its callbacks.
#[derive(Debug, Clone, Copy)]
pub struct UserData(*mut c_void);

// SAFETY: this side only hands it back; the header says from which threads a callback is called.
unsafe impl Send for UserData {}
// SAFETY: the same.
unsafe impl Sync for UserData {}

impl UserData {
    pub fn new(data: *mut c_void) -> Self {
        Self(data)
    }

    pub fn get(self) -> *mut c_void {
        self.0
    }
}

/// Does what an exported function is to do: no panic gets out, and what fails is told by number and
/// by an error object, if the caller wants one.
pub fn guard(operation: &'static str, error: *mut *mut nlxtp_error, body: impl FnOnce() -> Result<()>) -> nlxtp_result {
    let failure = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => return nlxtp_result::NLXTP_OK,
        Ok(Err(failure)) => Failure::new(operation, failure),
        Err(panic) => Failure::panicked(operation, &what_was_said(&*panic)),
    };
    let code = failure.code;
    Out::optional(error).set(|| give(failure));
    code
}

/// What an exported function returns that cannot fail: the default for NULL and wrong handles.
pub fn get<'a, H: Handle, T>(handle: *const H, default: T, value: impl FnOnce(&'a H::Inner) -> T) -> T
where
    H::Inner: 'a,
{
    match borrow(handle) {
        Ok(inner) => catch_unwind(AssertUnwindSafe(|| value(inner))).unwrap_or(default),
        Err(_) => default,
    }
}

fn what_was_said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}

/// An argument that cannot be used.
pub fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}
