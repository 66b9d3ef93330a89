//! To come with the server.
use crate::Measured;
use std::path::Path;
use std::time::Duration;
pub(crate) async fn over_http(folder: &Path, outstanding: usize, time: Duration) -> Result<Measured, Box<dyn std::error::Error + Send + Sync>> {
    crate::drive::in_process(folder, outstanding, time).await
}
