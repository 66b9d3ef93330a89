//! The stories that every host must tell alike, told to the local host.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "test code")]

mod hosts;
mod support;

use std::sync::{Arc, Mutex, Weak};

use support::{Folder, Http, Server, Webhook, workload};

struct Local {
    server: Server,
    webhook: Webhook,
    _folder: Folder,
}

impl hosts::Host for Local {
    fn http(&self) -> Http {
        self.server.http().with_key(hosts::KEY)
    }

    fn webhook(&self) -> &Webhook {
        &self.webhook
    }
}

fn local() -> Arc<Local> {
    static LOCAL: Mutex<Weak<Local>> = Mutex::new(Weak::new());
    hosts::shared(&LOCAL, || {
        let (folder, webhook) = (Folder::new(), Webhook::new());
        let server = folder.launch(workload()).env("WEBHOOK_SERVICE_URL", &webhook.url).env("KEY", hosts::KEY).start();
        Local { server, webhook, _folder: folder }
    })
}

hosts::stories!(local());
