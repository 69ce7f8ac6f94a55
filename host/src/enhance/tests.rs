//! Notes of good and of hostile tickets.

use plugin_abi::{
    time::{Duration, OffsetDateTime},
    types::{Event, Priority, Ticket, TicketMetadata},
};
use proptest::prelude::*;

use super::*;

const CREATED_S: i64 = 1_795_000_000;

/// The note of a ticket in which every text that a stranger controls is `text`.
fn note_of(text: &str) -> OwnedNote {
    let mut ticket = Ticket::new("17");
    ticket.subject = Some(text.to_owned());
    ticket.status = Some(text.to_owned());
    ticket.requester = Some(text.to_owned());
    let mut metadata = TicketMetadata::new("17", Event::Created);
    metadata.raw_priority = Some(text.to_owned());
    let similar = [similar(text, text), similar("4711", &format!("https://desk.example/{text}"))];
    noted(&ticket, &metadata, &similar)
}

fn similar(text: &str, url: &str) -> SimilarTicket {
    SimilarTicket {
        ticket_id: text.to_owned(),
        subject: Some(text.to_owned()),
        resolution: Some(text.to_owned()),
        url: Some(url.to_owned()),
        resolved_ms: CREATED_S * 1_000,
    }
}

fn noted(ticket: &Ticket, metadata: &TicketMetadata, similar: &[SimilarTicket]) -> OwnedNote {
    let now = OffsetDateTime::from_unix_timestamp(CREATED_S + 3 * 3_600 + 59).unwrap();
    enhance(&Enhancement { ticket, metadata, similar, job: JobId::from_bytes([0x11; 16]), now })
}

#[test]
fn a_note_tells_the_facts_in_three_forms() {
    let mut ticket = Ticket::new("17");
    ticket.status = Some("Open".to_owned());
    ticket.priority = Priority::High;
    ticket.requester = Some("Ada <ada@example.com>".to_owned());
    ticket.created_at = OffsetDateTime::from_unix_timestamp(CREATED_S).ok();
    let mut metadata = TicketMetadata::new("17", Event::Created);
    metadata.subject = Some("Printer *on fire*".to_owned());
    metadata.priority = Priority::High;
    metadata.raw_priority = Some("P1".to_owned());
    let mut past = similar("12", "https://desk.example/12?a=1&b=2");
    past.subject = Some("Printer smokes".to_owned());
    past.resolution = Some("Unplug it.\nThen call us.".to_owned());
    let note = noted(&ticket, &metadata, &[similar("17", ""), past]);
    let marker = "patchbay:11111111-1111-1111-1111-111111111111";
    assert_eq!(note.marker, marker);
    assert_eq!(
        note.text,
        format!(
            "About this ticket\n- Subject: Printer *on fire*\n- Priority: high (“P1” in the tool)\n- Status: Open\n\
             - Requester: Ada <ada@example.com>\n- Created: 2026-11-18 11:06 UTC, 3 hours ago\n\n\
             Solved tickets like this one\n- 12 Printer smokes (solved 2026-11-18): Unplug it. Then call us.\n  \
             https://desk.example/12?a=1&b=2\n\nPatchbay · automatic note\n{marker}\n"
        )
    );
    assert_eq!(
        note.html,
        format!(
            "<p><strong>About this ticket</strong></p>\n<ul>\n<li><strong>Subject:</strong> Printer *on fire*</li>\n\
             <li><strong>Priority:</strong> high (“P1” in the tool)</li>\n<li><strong>Status:</strong> Open</li>\n\
             <li><strong>Requester:</strong> Ada &lt;ada@example.com&gt;</li>\n\
             <li><strong>Created:</strong> 2026-11-18 11:06 UTC, 3 hours ago</li>\n</ul>\n\
             <p><strong>Solved tickets like this one</strong></p>\n<ul>\n<li>\
             <a href=\"https://desk.example/12?a=1&amp;b=2\" rel=\"nofollow noopener noreferrer\">12</a> \
             Printer smokes (solved 2026-11-18): Unplug it. Then call us.</li>\n</ul>\n\
             <hr><p><small>Patchbay · automatic note · {marker}</small></p>"
        )
    );
    assert!(note.markdown.contains("- **Subject:** Printer \\*on fire\\*\n"), "{}", note.markdown);
    assert!(
        note.markdown.ends_with(&format!("\n\n---\n\nPatchbay · automatic note · {marker}\n")),
        "{}",
        note.markdown
    );
}

#[test]
fn a_ticket_of_which_nothing_is_known_has_a_note_too() {
    let note = noted(&Ticket::new("17"), &TicketMetadata::new("17", Event::Created), &[]);
    assert!(note.text.starts_with("About this ticket\n- Priority: medium\n\nPatchbay"), "{}", note.text);
}

#[test]
fn the_tools_word_for_a_priority_is_left_out_when_it_is_out_of_date() {
    let mut metadata = TicketMetadata::new("17", Event::Created);
    metadata.raw_priority = Some("P1".to_owned());
    metadata.priority = Priority::High;
    let mut ticket = Ticket::new("17");
    assert_eq!(priority(&ticket, &metadata), "medium");
    ticket.priority = Priority::High;
    assert_eq!(priority(&ticket, &metadata), "high (“P1” in the tool)");
}

#[test]
fn ages_are_told_in_their_largest_unit() {
    for (seconds, expected) in [
        (-1, None),
        (0, Some("less than a minute")),
        (59, Some("less than a minute")),
        (60, Some("1 minute")),
        (3_599, Some("59 minutes")),
        (3_600, Some("1 hour")),
        (86_399, Some("23 hours")),
        (86_400, Some("1 day")),
        (400 * 86_400, Some("400 days")),
    ] {
        assert_eq!(age(Duration::seconds(seconds)).as_deref(), expected, "{seconds}");
    }
}

#[test]
fn only_web_addresses_become_links() {
    for (url, linked) in [
        ("https://desk.example/12", true),
        ("http://10.0.0.5:8080/12?x=%3Cy", true),
        ("HTTPS://desk.example", true),
        ("javascript:alert(1)", false),
        ("data:text/html,x", false),
        ("//desk.example/12", false),
        ("/12", false),
        ("https://desk.example@evil.example/", false),
        ("mailto:a@b.example", false),
    ] {
        assert_eq!(web_link(url).is_some(), linked, "{url}");
    }
    let long = |bytes: usize| format!("https://a.example/{}", "x".repeat(bytes - "https://a.example/".len()));
    assert!(web_link(&long(URL_BYTES_MAX)).is_some());
    assert!(web_link(&long(URL_BYTES_MAX + 1)).is_none());
}

#[test]
fn hostile_tickets_make_harmless_notes() {
    for text in [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "<a href='javascript:alert(1)'>x</a>",
        "[x](javascript:alert(1))",
        "![x](https://evil.example/pixel)",
        "x](<javascript:alert(1)>) [y",
        "\">)<svg onload=alert(1)>",
        "</small></li></ul><iframe src=//evil.example>",
        "&lt;script&gt;alert(1)&lt;/script&gt;",
        "# heading\n\n---\n\n```\ncode\n```\n<style>*{display:none}</style>",
        "https://evil.example/?a=<b>&c=\\>d",
        "@everyone",
    ] {
        check_harmless(text);
    }
}

#[test]
fn a_note_has_a_largest_size() {
    let note = note_of(&"<&*\u{10ffff}".repeat(1_000_000));
    let longest = note.markdown.len().max(note.html.len()).max(note.text.len());
    assert!(longest < 64 * 1_024, "{longest}");
}

proptest! {
    #[test]
    fn no_ticket_makes_a_harmful_note(text in any::<String>(), hostile in r#"[<>"'/=()\[\]!&;:@`*\\ \na-z.]{0,60}"#) {
        check_harmless(&text);
        check_harmless(&hostile);
    }
}

/// Checks every tag: in the HTML a `<` only begins a tag, so nothing else can do harm.
#[track_caller]
fn check_harmless(text: &str) {
    const PLAIN_TAGS: [&str; 12] =
        ["p", "/p", "strong", "/strong", "ul", "/ul", "li", "/li", "small", "/small", "hr", "/a"];
    let note = note_of(text);
    for form in [&note.markdown, &note.html, &note.text] {
        assert!(form.contains(&note.marker), "{text:?}: {form}");
    }
    for piece in note.html.split('<').skip(1) {
        let (tag, _) = piece.split_once('>').expect("a tag ends");
        let is_link = tag
            .strip_prefix("a href=\"https://desk.example/")
            .or_else(|| tag.strip_prefix("a href=\"http"))
            .and_then(|rest| rest.strip_suffix("\" rel=\"nofollow noopener noreferrer\""))
            .is_some_and(|url| !url.contains('"'));
        assert!(is_link || PLAIN_TAGS.contains(&tag), "{text:?} made <{tag}>");
    }
    assert!(!note.text.contains("@everyone"), "{}", note.text);
}
