//! Loading: whole or from where the caller stands, and the status that people see.

use durable::ports::Known;

use super::Subject;
use crate::build::*;

/// What is not stored is unknown to load, status and history.
pub async fn an_unknown_instance_is_unknown_to_every_read(store: Subject) {
    assert!(store.load(&id("a"), None).await.unwrap().is_none());
    let known = Known { incarnation: life(1), execution: 0, events: 3 };
    assert!(store.load(&id("a"), Some(known)).await.unwrap().is_none());
    assert!(store.status(&id("a")).await.unwrap().is_none());
    assert_eq!(store.history(&id("a"), life(1), 0, 0..10).await.unwrap().len(), 0);
}

/// A caller that holds the first events is given the later ones only.
pub async fn a_caller_that_knows_the_first_events_gets_the_later_ones(store: Subject) {
    created(&*store, start("a", 1)).await;
    for n in 0..30 {
        let loaded = load(&*store, "a").await;
        Turn::on("a", &loaded).append(events(n * 10..n * 10 + 10)).lands(&*store).await;
    }
    for known in [0, 1, 9, 10, 155, 299, 300] {
        let known = Known { incarnation: life(1), execution: 0, events: known };
        let loaded = store.load(&id("a"), Some(known)).await.unwrap().unwrap();
        assert_eq!(loaded.first_event, known.events);
        assert_eq!(loaded.events, events(known.events..300));
        assert_eq!((loaded.header.events, loaded.header.revision), (300, 31));
    }
}

/// A caller that holds events of another life or execution is given all.
pub async fn a_caller_that_knows_another_life_or_execution_gets_everything(store: Subject) {
    created(&*store, start("a", 1)).await;
    let loaded = load(&*store, "a").await;
    Turn::on("a", &loaded).append(events(0..50)).lands(&*store).await;
    for (incarnation, execution) in [(2, 0), (1, 1), (2, 1)] {
        let known = Known { incarnation: life(incarnation), execution, events: 20 };
        let loaded = store.load(&id("a"), Some(known)).await.unwrap().unwrap();
        assert_eq!((loaded.first_event, loaded.events), (0, events(0..50)));
    }
}

/// A load with known events gives a token for the next commit as well, and the whole inbox.
pub async fn a_partial_load_is_enough_to_commit(store: Subject) {
    created(&*store, start("a", 1)).await;
    let loaded = load(&*store, "a").await;
    Turn::on("a", &loaded).append(events(0..50)).lands(&*store).await;
    deliver(&*store, "a", raised(1)).await;
    let known = Known { incarnation: life(1), execution: 0, events: 50 };
    let loaded = store.load(&id("a"), Some(known)).await.unwrap().unwrap();
    assert_eq!((loaded.events.len(), &loaded.inbox), (0, &vec![raised(1)]));
    Turn::on("a", &loaded).takes(1).append(events(50..60)).lands(&*store).await;
    assert_eq!(load(&*store, "a").await.events, events(0..60));
}

/// The status shows header, input, custom status and output as they were last written.
pub async fn the_status_shows_what_was_written_last(store: Subject) {
    created(&*store, start("a", 1)).await;
    let status = store.status(&id("a")).await.unwrap().unwrap();
    assert_eq!((status.header, status.input, status.output, status.custom_status), (pending(1), text("\"input of life 1\""), None, None));
    let loaded = load(&*store, "a").await;
    let turn = Turn::on("a", &loaded).append(events(0..1)).custom_status(text("{\"step\":3}")).completes(text("\"out\""));
    let header = turn.clone().build_commit().header;
    turn.lands(&*store).await;
    let status = store.status(&id("a")).await.unwrap().unwrap();
    assert_eq!(status.header, header);
    assert_eq!((status.output, status.custom_status), (Some(text("\"out\"")), Some(text("{\"step\":3}"))));
}

/// What one call has been told is stored, the next one reads, through any clone or connection.
pub async fn a_read_sees_every_write_that_was_answered_before(store: Subject) {
    created(&*store, start("a", 1)).await;
    for n in 1..40 {
        deliver(&*store, "a", raised(n)).await;
        let loaded = load(&*store, "a").await;
        assert_eq!(ids(&loaded.inbox), [message_id(n)]);
        Turn::on("a", &loaded).takes(1).lands(&*store).await;
        assert_eq!(store.status(&id("a")).await.unwrap().unwrap().header.revision, n + 1);
    }
}
