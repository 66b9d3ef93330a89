//! The stories that every host must tell alike, told to a Lambda function on DynamoDB Local and the local driver.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "test code")]

mod hosts;
mod support;

use std::sync::{Arc, Mutex, Weak};

use hosts::aws::Aws;
use support::workload_lambda;

fn aws() -> Arc<Aws> {
    static AWS: Mutex<Weak<Aws>> = Mutex::new(Weak::new());
    hosts::shared(&AWS, || Aws::start(workload_lambda(), |cloud| cloud.concurrency(64)))
}

hosts::stories!(aws());
