//! Journal entries of operators' actions, and requests that wait for new entries.

use std::time::{Duration, Instant};

use super::*;
use crate::admin::wire::{Host, Installed};

fn note(bed: &Bed, tool_type: &str, message: &str) {
    let tool_type = ToolType::parse(tool_type).unwrap();
    bed.parts.manager.journal().note(store::PluginEvent::new(Happened::Loaded, message).of(&tool_type));
}

fn messages(bed: &Bed, query: &str) -> Vec<String> {
    let events = bed.client.get::<Vec<PluginEvent>>(&format!("/v1/events?{query}")).unwrap();
    events.into_iter().map(|event| event.message).collect()
}

#[test]
fn the_host_says_where_it_looks_for_plugins() {
    let bed = Bed::new();
    let host: Host = bed.client.get("/v1/host").unwrap();
    assert_eq!(host.plugin_folder, bed.folder.path().join("plugins").display().to_string());
}

#[test]
fn a_reload_is_noted_with_who_and_why_the_user_as_the_system_names_it() {
    let bed = Bed::new();
    for (request, message, tool_type) in [
        (json!({}), "of what has changed in the folder", None),
        (json!({"all": true, "reason": "new kernel"}), "of all plugins", None),
        (json!({"tool_type": "jira", "reason": " because "}), "of this plugin, changed or not", Some("jira")),
    ] {
        // Another test checks the outcome for the files.
        let _outcome = bed.client.post::<Vec<Reloaded>>("/v1/reload", &request);
        bed.runtime.block_on(bed.parts.manager.journal().flush());
        let events: Vec<PluginEvent> = bed.client.get("/v1/events").unwrap();
        let asked = events.iter().rfind(|event| event.code == Happened::ReloadAsked.as_str()).unwrap();
        assert_eq!((asked.message.as_str(), asked.tool_type.as_deref()), (message, tool_type));
        assert_eq!(asked.who, format!("uid {}", rustix::process::getuid().as_raw()));
        assert_eq!(asked.why.as_deref(), request["reason"].as_str().map(str::trim));
    }
    for reason in ["", "a\nb", &"x".repeat(501)] {
        refused(bed.client.post::<Vec<Reloaded>>("/v1/reload", &json!({"reason": reason})), "BAD_REQUEST");
    }
}

#[test]
fn only_a_plugin_that_lies_in_the_folder_was_installed() {
    let bed = Bed::new();
    for file in ["", ".", "..", "absent.so", "../plugins/libforeign.so", "/etc/passwd", "libforeign.so"] {
        let installed = Installed { file: file.to_owned(), reason: None };
        refused(bed.client.post::<Vec<Reloaded>>("/v1/plugin-files/installed", &installed), "BAD_REQUEST");
    }
    bed.runtime.block_on(bed.parts.manager.journal().flush());
    assert_eq!(bed.client.get::<Vec<PluginEvent>>("/v1/events").unwrap(), []);
}

#[test]
fn a_request_waits_for_an_event_of_its_tool_type() {
    let bed = Bed::new();
    note(&bed, "jira", "first");
    bed.runtime.block_on(bed.parts.manager.journal().flush());
    assert_eq!(messages(&bed, "after=0&wait_s=25"), ["first"], "what is there is not waited for");
    assert_eq!(messages(&bed, "after=1&wait_s=0"), [""; 0]);
    let began = Instant::now();
    assert_eq!(messages(&bed, "after=1&wait_s=1"), [""; 0]);
    assert!(began.elapsed() >= Duration::from_secs(1), "it waited {:?}", began.elapsed());

    let journal = bed.parts.manager.journal().clone();
    let store = bed.store.clone();
    bed.runtime.spawn(async move {
        let other = ToolType::parse("zendesk").unwrap();
        journal.note(store::PluginEvent::new(Happened::Loaded, "another's").of(&other));
        journal.flush().await;
        assert_eq!(
            store.plugin_events(store::EventsFrom::After(1), store::EventFilter::default(), 9).await.unwrap().len(),
            1
        );
        let own = ToolType::parse("jira").unwrap();
        journal.note(store::PluginEvent::new(Happened::Loaded, "its own").of(&own));
    });
    let began = Instant::now();
    assert_eq!(messages(&bed, "after=1&tool_type=jira&wait_s=25"), ["its own"]);
    assert!(began.elapsed() < Duration::from_secs(20), "it was told");

    for wrong in ["wait_s=26", "wait_s=-1", "after=x", "tool_type=Jira"] {
        refused(bed.client.get::<Vec<PluginEvent>>(&format!("/v1/events?{wrong}")), "BAD_REQUEST");
    }
    assert_eq!(EVENTS_WAIT_S_MAX, 25, "the page says so");
}
