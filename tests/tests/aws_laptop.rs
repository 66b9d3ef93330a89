//! The AWS host on a laptop: README.md's command, with the function that `infra/aws/build` makes, and the walk through it. DynamoDB Local is the tests'
//! own, and the ports are free ones.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "test code")]

mod support;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use durable_tests::dynamodb::Local;
use support::readme::{readme, walk};
use support::{Http, aws_driver, bootstrap, wait_until};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// The arguments of the driver, as README.md has them.
fn arguments_of_the_readme() -> Vec<String> {
    let readme = readme().replace("\\\n", " ");
    let line = readme.lines().find_map(|line| line.strip_prefix("cargo run -p durable-aws-dev --bin durable-aws-dev -- "));
    line.expect("README.md has the driver's command").split_whitespace().map(str::to_owned).collect()
}

/// The driver with these arguments, and with ports of this test.
fn driver(dynamodb: &str) -> Command {
    let built = "target/lambda/durable-orchestrator/bootstrap";
    let arguments = arguments_of_the_readme();
    assert!(arguments.iter().any(|argument| argument == built) && arguments.iter().any(|argument| argument == "--create-table"), "{arguments:?}");
    let mut command = Command::new(aws_driver());
    command.args(arguments.iter().map(|argument| argument.replace(built, &bootstrap().display().to_string())));
    command.args(["--dynamodb", dynamodb, "--listen", "127.0.0.1:0", "--api", "127.0.0.1:0"]).current_dir(ROOT);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A driver that runs. It is killed when dropped, and its processes with it.
struct Running {
    child: Child,
    url: SocketAddr,
    /// Kept open: writing to a closed pipe would end the driver.
    _stdout: BufReader<ChildStdout>,
    /// Takes what the function writes.
    _folder: tempfile::TempDir,
}

impl Running {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut driver = driver(&format!("http://{}", Local::get().address()));
        driver.arg("--log").arg(folder.path().join("log")).stderr(Stdio::inherit());
        let mut child = driver.spawn().expect("the driver can be run");
        let mut stdout = BufReader::new(child.stdout.take().expect("its output"));
        let mut first = String::new();
        // Ends with the first line, or with the process.
        let _ = stdout.read_line(&mut first);
        let url = first.strip_prefix("function URL ").and_then(|url| url.trim().strip_prefix("http://")?.parse().ok());
        let Some(url) = url else { panic!("the driver has not started: {:?}; its messages stand above", child.wait()) };
        Self { child, url, _stdout: stdout, _folder: folder }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_walk_goes_through_the_command_of_the_readme_and_the_table_is_created_once() {
    let first = Running::start();
    walk(first.url, || first.url);
    Http::new(first.url).start("base_orchestrator", "kept", "null");
    wait_until(&mut Http::new(first.url), "kept", "Running");
    drop(first);
    // The same command again: the table that is there is used as it is.
    let second = Running::start();
    let mut http = Http::new(second.url);
    http.raise("kept", "WakeUp", "1");
    wait_until(&mut http, "kept", "Completed");
}

#[test]
fn a_table_that_cannot_be_created_is_named_with_what_to_do() {
    // A port that was free a moment ago: nobody listens there.
    let nowhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let Output { status, stderr, .. } = driver(&format!("http://{nowhere}")).output().unwrap();
    let said = String::from_utf8_lossy(&stderr);
    assert!(!status.success(), "{said}");
    assert!(["`durable`", &nowhere.to_string(), "Start DynamoDB Local"].iter().all(|part| said.contains(part)), "{said}");
}
