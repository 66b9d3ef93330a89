//! The page at the root: what this is, and lines that can be copied into a terminal.
//!
//! Must never show anything of an instance.

use crate::serve::Api;

pub(crate) fn text(api: &Api, base: &str) -> String {
    let names = api.client.app().orchestrator_names();
    let known = names.iter().map(|name| format!("  {name}\n")).collect::<String>();
    let example = names.first().copied().unwrap_or("{name}");
    let management = format!("{base}{}", api.options.link_path);
    format!(
        "Durable Orchestrator, task hub {hub}\n\
         \n\
         Orchestrators:\n{known}\
         \n\
         Start one, see how it stands, send it an event:\n\
         \x20 curl -X POST {base}/api/orchestrators/{example} -d '{{}}'\n\
         \x20 curl {base}/api/orchestrators/{{id}}/status\n\
         \x20 curl -X POST {base}/api/orchestrators/{{id}}/raise/{{event}} -H 'Content-Type: application/json' -d '{{}}'\n\
         \n\
         The HTTP management API of Durable Functions:\n\
         \x20 {management}/orchestrators/{{name}}[/{{id}}]   POST: start\n\
         \x20 {management}/instances   GET: list\n\
         \x20 {management}/instances/{{id}}   GET: status, DELETE: purge\n\
         \x20 {management}/instances/{{id}}/raiseEvent/{{event}}   POST; also terminate, suspend, resume, rewind, restart\n",
        hub = api.options.task_hub,
    )
}
