//! Runs the AWS host on one machine.
