//! The local host from outside: how it starts, refuses to start, stops, goes on after a restart, and sleeps.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "test code")]

mod support;

use std::fs::{self, File};
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::time::{Duration, Instant};

use support::{
    Folder, PATIENCE, Refused, Webhook, asleep, output_of, processor_ticks, switches, switches_since, template, wait_for, wait_until, wait_where, workload,
};

/// From the signal to the end of the process.
const STOPS_WITHIN: Duration = Duration::from_secs(5);

#[track_caller]
fn refuses(refused: Result<support::Server, Refused>, words: &[&str]) {
    let refused = refused.err().expect("the server must refuse to start");
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(words.iter().all(|word| refused.stderr.contains(word)), "{words:?} are not in {}", refused.stderr);
    assert!(!refused.stderr.contains("panicked"), "{}", refused.stderr);
}

#[test]
fn a_second_process_on_a_folder_is_refused_and_the_first_one_goes_on() {
    let folder = Folder::new();
    let server = folder.serve(template());
    refuses(folder.launch(template()).try_start(), &["in use by another process", "choose another folder"]);
    let mut http = server.http();
    http.start("base_orchestrator", "a", "{}");
    http.raise("a", "WakeUp", "1");
    output_of(&mut http, "a");
    server.kill();
    // The dead do not hold it.
    folder.serve(template());
}

#[test]
fn an_address_beyond_this_machine_is_refused_before_the_folder_is_touched() {
    let folder = Folder::new();
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let mut launch = folder.launch(template());
        *launch.command() = std::process::Command::new(template());
        launch.command().args(["--listen", address, "--data"]).arg(folder.data());
        refuses(launch.try_start(), &["not a loopback address", "127.0.0.1"]);
    }
    assert!(!folder.data().exists());
}

#[test]
fn an_address_in_use_is_refused_with_a_way_out() {
    let (first, second) = (Folder::new(), Folder::new());
    let server = first.serve(template());
    let mut launch = second.launch(template());
    *launch.command() = std::process::Command::new(template());
    launch.command().args(["--listen", &server.address.to_string(), "--data"]).arg(second.data());
    refuses(launch.try_start(), &["cannot listen", "--listen"]);
    assert!(!second.data().exists());
}

/// A folder with an instance in it, and no server.
fn used_folder() -> Folder {
    let folder = Folder::new();
    let server = folder.serve(template());
    server.http().start("base_orchestrator", "a", "{}");
    assert!(server.terminate().0.success());
    folder
}

#[test]
fn a_folder_of_a_newer_build_is_refused_and_not_changed() {
    let folder = used_folder();
    let path = folder.data().join("durable.db");
    // SQLite keeps the application's version of the layout at this place in its file.
    let file = File::options().write(true).open(&path).unwrap();
    file.write_all_at(&9_999_u32.to_be_bytes(), 60).unwrap();
    drop(file);
    let before = fs::read(&path).unwrap();
    refuses(folder.launch(template()).try_start(), &["version 9999", "newer build"]);
    assert!(fs::read(&path).unwrap() == before, "the file was changed");
}

#[test]
fn a_damaged_database_is_refused_with_what_to_do() {
    let folder = used_folder();
    let path = folder.data().join("durable.db");
    fs::write(&path, "this is no database, whatever its name says; ".repeat(200)).unwrap();
    refuses(folder.launch(template()).try_start(), &["damaged or not a database", "durable.db"]);
}

#[test]
fn a_folder_that_may_not_be_written_is_refused_with_what_to_do() {
    let folder = used_folder();
    for path in [folder.data().join("durable.db"), folder.data()] {
        let mut permissions = fs::metadata(&path).unwrap().permissions();
        permissions.set_mode(permissions.mode() & !0o222);
        fs::set_permissions(&path, permissions).unwrap();
    }
    let mut launch = folder.launch(template());
    if File::options().append(true).open(folder.data().join("durable.db")).is_ok() {
        // The superuser may write whatever stands there: let nobody try, from a copy that nobody can reach.
        let program = folder.data().with_file_name("program");
        fs::copy(template(), &program).unwrap();
        for path in [program.parent().unwrap(), &folder.data(), &program] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o555)).unwrap();
        }
        *launch.command() = std::process::Command::new(program);
        launch.command().args(["--listen", "127.0.0.1:0", "--data"]).arg(folder.data()).uid(65_534).gid(65_534);
    }
    refuses(launch.try_start(), &["cannot be written", "another folder"]);
    fs::set_permissions(folder.data(), fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn sigterm_stops_in_time_with_requests_and_activities_under_way_and_the_rest_goes_on_at_the_restart() {
    let folder = Folder::new();
    let attempts = folder.data().with_file_name("attempts");
    let serve = || folder.launch(workload()).env("ATTEMPTS", attempts.to_str().unwrap()).start();
    let server = serve();
    let mut http = server.http();
    for n in 0..20 {
        http.start("runs_slow", &format!("short-{n}"), "1500");
        http.start("runs_slow", &format!("long-{n}"), "8000");
    }
    http.start("fan_out", "wide", "1000");
    let count = || fs::read_to_string(&attempts).unwrap_or_default().lines().count();
    wait_for("all attempts to begin", PATIENCE, || (count() >= 40).then_some(()));
    // A request that never comes to its end, and a connection that says nothing.
    let mut half = TcpStream::connect(server.address).unwrap();
    half.write_all(b"POST /api/orchestrators/base_orchestrator HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{").unwrap();
    let _silent = TcpStream::connect(server.address).unwrap();
    let (status, took) = server.terminate();
    assert!(status.success(), "{status}: {}", folder.log());
    assert!(took < STOPS_WITHIN, "it took {took:?}");

    let server = serve();
    let mut http = server.http();
    for n in 0..20 {
        assert_eq!(output_of(&mut http, &format!("short-{n}")), 1_500);
        assert_eq!(output_of(&mut http, &format!("long-{n}")), 8_000);
    }
    assert_eq!(output_of(&mut http, "wide"), 999_000);
    // What ended in time was stored: only the long ones were begun again.
    assert_eq!(fs::read_to_string(&attempts).unwrap().lines().filter(|line| *line == "1500").count(), 20);
}

#[test]
fn sigterm_stops_in_time_while_a_webhook_service_does_not_answer() {
    let (folder, webhook) = (Folder::new(), Webhook::silent());
    let server = folder.launch(template()).env("WEBHOOK_SERVICE_URL", &webhook.url).start();
    server.http().start("standing_intent_orchestrator", "a", r#"{"message": "May I?", "platform": "teams", "thread_id": "t"}"#);
    let (status, took) = server.terminate();
    assert!(status.success() && took < STOPS_WITHIN, "{status} after {took:?}");
    let webhook = Webhook::new();
    let server = folder.launch(template()).env("WEBHOOK_SERVICE_URL", &webhook.url).start();
    webhook.wait("a", 1);
    server.http().raise("a", "UserApproval", "true");
    assert_eq!(output_of(&mut server.http(), "a")["status"], "approved");
}

#[test]
fn activities_that_block_their_threads_hold_up_neither_requests_nor_the_end_of_the_process() {
    let folder = Folder::new();
    let attempts = folder.data().with_file_name("attempts");
    let server = folder.launch(workload()).env("ATTEMPTS", attempts.to_str().unwrap()).start();
    let mut http = server.http();
    let begun = Instant::now();
    for n in 0..64 {
        http.start("runs_blocking", &n.to_string(), "12000");
    }
    http.start("sleeper", "beside", "0.1");
    assert_eq!(output_of(&mut http, "beside"), "woke");
    assert!(begun.elapsed() < Duration::from_secs(10), "it took {:?}", begun.elapsed());
    wait_for("an attempt to begin", PATIENCE, || attempts.exists().then_some(()));
    let (status, took) = server.terminate();
    assert!(status.success() && took < STOPS_WITHIN, "{status} after {took:?}");
}

#[test]
fn timers_that_came_due_while_the_process_was_down_fire_at_the_restart() {
    let folder = Folder::new();
    let server = folder.serve(workload());
    let mut http = server.http();
    for n in 0..50 {
        http.start("sleeper", &format!("soon-{n}"), "0.8");
    }
    http.start("sleeper", "later", "3600");
    let set = Instant::now();
    server.kill();
    wait_for("the timers to come due", PATIENCE, || (set.elapsed() > Duration::from_secs(1)).then_some(()));
    let server = folder.serve(workload());
    let mut http = server.http();
    let back = Instant::now();
    for n in 0..50 {
        assert_eq!(output_of(&mut http, &format!("soon-{n}")), "woke");
    }
    assert!(back.elapsed() < Duration::from_secs(5), "it took {:?}", back.elapsed());
    assert_eq!(http.status("later")["runtimeStatus"], "Running");
}

#[test]
fn activities_that_were_under_way_at_a_kill_are_run_again_and_messages_between_instances_arrive() {
    let folder = Folder::new();
    let attempts = folder.data().with_file_name("attempts");
    let serve = || folder.launch(workload()).env("ATTEMPTS", attempts.to_str().unwrap()).start();
    let server = serve();
    let mut http = server.http();
    for n in 0..20 {
        http.start("runs_slow", &format!("slow-{n}"), "700");
    }
    wait_for("all attempts to begin", PATIENCE, || (fs::read_to_string(&attempts).unwrap_or_default().lines().count() >= 20).then_some(()));
    http.start("tree", "tree", r#"{"depth": 3, "width": 6}"#);
    http.start("fan_out", "wide", "500");
    server.kill();
    let server = serve();
    let mut http = server.http();
    for n in 0..20 {
        assert_eq!(output_of(&mut http, &format!("slow-{n}")), 700);
    }
    assert_eq!(output_of(&mut http, "tree"), 216);
    assert_eq!(output_of(&mut http, "wide"), 249_500);
    assert!(fs::read_to_string(&attempts).unwrap().lines().count() >= 40, "each was begun twice");
}

#[test]
fn a_fan_out_of_a_thousand_comes_together_again() {
    let folder = Folder::new();
    let server = folder.serve(workload());
    let mut http = server.http();
    http.start("fan_out", "wide", "1000");
    assert_eq!(output_of(&mut http, "wide"), 999_000);
    let history = http.history("wide");
    let of = |event_type: &str| history.as_array().unwrap().iter().filter(|event| event["EventType"] == event_type).count();
    assert_eq!((of("TaskScheduled"), of("TaskCompleted")), (0, 1_000), "an end takes the place of its beginning");
}

#[test]
fn a_tree_of_sub_orchestrations_grows_and_comes_back() {
    let folder = Folder::new();
    let server = folder.serve(workload());
    let mut http = server.http();
    http.start("tree", "tree", r#"{"depth": 3, "width": 5}"#);
    assert_eq!(output_of(&mut http, "tree"), 125);
}

#[test]
fn a_terminated_parent_takes_its_awaited_children_with_it() {
    let folder = Folder::new();
    let server = folder.serve(workload());
    let mut http = server.http();
    http.start("waits_for_child", "parent", "3600");
    wait_until(&mut http, "child-of-parent", "Running");
    http.post("/runtime/webhooks/durabletask/instances/parent/terminate?reason=enough", "").expect(202);
    wait_until(&mut http, "parent", "Terminated");
    wait_until(&mut http, "child-of-parent", "Terminated");
}

#[test]
fn a_thousand_sleepers_cost_no_processor_time() {
    let folder = Folder::new();
    let server = folder.serve(workload());
    let mut http = server.http();
    for n in 0..500 {
        http.start("base_orchestrator", &format!("event-{n}"), "{}");
        http.start("sleeper", &format!("timer-{n}"), "36000");
    }
    for n in 0..500 {
        wait_where(&mut http, &format!("event-{n}"), "to wait for its event", |shown| shown["runtimeStatus"] == "Running");
    }
    drop(http);
    asleep(server.pid());
    let (ticks, before) = (processor_ticks(server.pid()), switches(server.pid()));
    // This time is what is measured.
    std::thread::sleep(Duration::from_secs(5));
    let (ticks, switches) = (processor_ticks(server.pid()) - ticks, switches_since(server.pid(), &before));
    println!("in 5 s: {ticks} ticks, {switches} context switches");
    assert!(ticks <= 1, "{ticks} ticks of processor time in 5 s");
    assert!(switches <= 5, "{switches} context switches in 5 s");
    // They are alive.
    let mut http = server.http();
    http.raise("event-250", "WakeUp", "1");
    output_of(&mut http, "event-250");
}
