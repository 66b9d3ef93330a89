//! The threads that activities run on.

use tokio::runtime::{Builder, Handle as Runtime};

/// The threads that activities run on: their own, so that one that blocks its thread holds up neither a request nor the end of the process.
pub(crate) struct ActivityThreads(Option<tokio::runtime::Runtime>);

impl ActivityThreads {
    pub fn start() -> std::io::Result<(Self, Runtime)> {
        let runtime = Builder::new_multi_thread().thread_name("activities").enable_all().build()?;
        let handle = runtime.handle().clone();
        Ok((Self(Some(runtime)), handle))
    }
}

impl Drop for ActivityThreads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // No activity takes a further step, and none is waited for.
            runtime.shutdown_background();
        }
    }
}
