//! Panics while a run is under way: those of the build that does not match are part of the story, all others are what the run failed by.

use std::cell::RefCell;
use std::panic::AssertUnwindSafe;
use std::sync::Once;

use durable_tests::sim::program::PANICS;

thread_local! {
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
    static WATCHED: RefCell<bool> = const { RefCell::new(false) };
}

static HOOK: Once = Once::new();

/// Runs this; a panic becomes an error with its text and its place.
///
/// # Errors
/// The panic.
pub fn guarded<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !WATCHED.with(|watched| *watched.borrow()) {
                return before(info);
            }
            let text = info.to_string();
            if !text.contains(PANICS) {
                LAST.with(|last| *last.borrow_mut() = Some(text));
            }
        }));
    });
    WATCHED.with(|watched| *watched.borrow_mut() = true);
    let done = std::panic::catch_unwind(AssertUnwindSafe(run));
    WATCHED.with(|watched| *watched.borrow_mut() = false);
    let last = LAST.with(RefCell::take);
    match (done, last) {
        (Ok(done), None) => Ok(done),
        // Also one that somebody caught: nothing of ours may panic.
        (_, text) => Err(format!("PANIC: {}", text.unwrap_or_default())),
    }
}
