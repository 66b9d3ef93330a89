//! Azure Storage beside the tests: Microsoft's Azurite, one for each test process, in memory, on the loopback interface only.
//!
//! It is started when first asked for, and ends with the process: it reads its standard input, which closes then, however the process dies.
//! Needs Node.js and npm; where they are missing, a test fails and says what to install.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use durable::ports::PortFuture;
use durable_azure::storage::{self, Account, Storage};
use durable_azure::store::{Options, TableStore};
use tokio::runtime::Runtime;

use crate::conformance::Opened;
use crate::tools::{installed, npm_ci, run, target};

const MISSING: &str = "install Node.js 20 or later and npm (for example `apt-get install nodejs npm`), or let `bash tests/run` do it";

/// The account that Azurite has.
pub const ACCOUNT: &str = "devstoreaccount1";
/// Its key, which everybody knows.
pub const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// The Azurite of this test process.
#[derive(Debug)]
pub struct Azurite {
    ports: HashMap<String, u16>,
    runtime: Runtime,
    /// Its standard input is open as long as this process lives.
    _server: Child,
}

impl Azurite {
    /// Starts it, if that has not been done.
    pub fn get() -> &'static Self {
        static AZURITE: OnceLock<Azurite> = OnceLock::new();
        AZURITE.get_or_init(Self::start)
    }

    fn start() -> Self {
        let folder = install();
        let mut server = Command::new("node")
            .arg("loopback.js")
            .current_dir(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("node cannot be run ({e}): {MISSING}"));
        let mut said = BufReader::new(server.stdout.take().expect("its output")).lines().map_while(Result::ok);
        let mut ports = HashMap::new();
        for line in &mut said {
            if let Some((service, port)) = line.split_once(" listens on ") {
                ports.insert(service.to_owned(), port.parse().expect("a port"));
            }
            if ports.len() == 3 {
                break;
            }
        }
        assert_eq!(ports.len(), 3, "Azurite did not start: its messages stand above");
        // Nobody may be kept from saying something because nobody listens.
        std::thread::spawn(move || said.for_each(drop));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        Self { ports, runtime, _server: server }
    }

    /// Where a service (`blob`, `queue`, `table`) listens.
    #[must_use]
    pub fn address(&self, service: &str) -> String {
        format!("127.0.0.1:{}", self.ports[service])
    }

    /// Runs a future that needs its runtime to the end, on the calling thread.
    pub fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// A connection string to it, with its tables at another address if one is given.
    #[must_use]
    pub fn connection_string(&self, tables: Option<&str>) -> String {
        let place = |service: &str, other: Option<&str>| format!("http://{}/{ACCOUNT}", other.map_or_else(|| self.address(service), str::to_owned));
        let (blob, queue, table) = (place("blob", None), place("queue", None), place("table", tables));
        format!("AccountName={ACCOUNT};AccountKey={KEY};BlobEndpoint={blob};QueueEndpoint={queue};TableEndpoint={table}")
    }

    /// A client of it that waits as long as a busy machine may need, with its tables at another address if one is given.
    #[must_use]
    pub fn storage(&self, tables: Option<&str>) -> Storage {
        let account = Account::from_connection_string("the tests", &self.connection_string(tables)).expect("a connection string");
        Storage::new(account, storage::Options { attempt: Duration::from_secs(60) }).expect("a client")
    }

    /// The name of a task hub that nobody has used.
    #[must_use]
    pub fn hub() -> String {
        static HUBS: AtomicU64 = AtomicU64::new(1);
        format!("hub{}", HUBS.fetch_add(1, Ordering::Relaxed))
    }

    /// A store for a hub. Its table must be created.
    #[must_use]
    pub fn store(storage: Storage, hub: &str) -> TableStore {
        let options = Options { patience: Duration::from_secs(120), ..Options::new(hub) };
        TableStore::new(storage, options).expect("the name of a hub")
    }

    /// A store for a fresh hub, whose table is there.
    #[must_use]
    pub fn fresh(&self) -> TableStore {
        let store = Self::store(self.storage(None), &Self::hub());
        let create = async { store.create_table().await.expect("the table can be created") };
        // On a thread of its own: a test may want another table while its future runs on this one.
        std::thread::scope(|scope| scope.spawn(|| self.run(create)).join()).expect("the table was created");
        store
    }

    /// A store for a fresh hub, for the conformance suite.
    #[must_use]
    pub fn open() -> Opened {
        Opened::new(Self::get().fresh()).run_by(|future: PortFuture<()>| Self::get().run(future))
    }
}

/// Installs Azurite, once.
fn install() -> PathBuf {
    let (sources, folder) = (Path::new(env!("CARGO_MANIFEST_DIR")).join("azurite"), target().join("azurite"));
    let node = run(Command::new("node").arg("--version"), MISSING);
    let read = |file: &Path| std::fs::read_to_string(file).expect("a file of the tests");
    let launcher = sources.join("loopback.js");
    let wanted = [node, read(&sources.join("package-lock.json")), read(&launcher)].concat();
    installed(&folder, &wanted, |folder| {
        npm_ci(&sources, folder, MISSING);
        std::fs::copy(&launcher, folder.join("loopback.js")).expect("the launcher can be copied");
    });
    folder
}
