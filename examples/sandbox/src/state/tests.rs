use std::sync::Arc;

use hyper::Request;

use super::*;
use crate::fault::Target;

const TOOL: Tool = Tool::ServicedeskPlus;

fn call(body: Vec<u8>) -> Call {
    let (head, ()) = Request::post("/x?y=1").header("Authtoken", "k").body(()).unwrap().into_parts();
    Call { head, body: body.into() }
}

#[test]
fn a_ticket_takes_notes_up_to_the_limit() {
    let state = State::default();
    assert_eq!(state.add_note(TOOL, "1", String::new(), true).unwrap_err(), NoteRefused::NoTicket);
    state.put_ticket(TOOL, "1", TicketFields::default()).unwrap();
    for _ in 0..limits::NOTES_PER_TICKET_MAX {
        state.add_note(TOOL, "1", "n".to_owned(), true).unwrap();
    }
    assert!(matches!(state.add_note(TOOL, "1", "n".to_owned(), true), Err(NoteRefused::Full(_))));
}

#[test]
fn tickets_are_bounded_and_an_existing_one_can_still_be_replaced() {
    let state = State::default();
    for id in 0..limits::TICKETS_MAX {
        state.put_ticket(TOOL, &id.to_string(), TicketFields::default()).unwrap();
    }
    assert!(state.put_ticket(TOOL, "one more", TicketFields::default()).is_err());
    assert!(matches!(state.put_ticket(TOOL, "7", TicketFields::default()), Ok(Put::Replaced(_))));
}

#[test]
fn replacing_a_ticket_keeps_its_notes() {
    let state = State::default();
    state.put_ticket(TOOL, "1", TicketFields::default()).unwrap();
    state.add_note(TOOL, "1", "n".to_owned(), true).unwrap();
    let fields = TicketFields { subject: "new".to_owned(), ..TicketFields::default() };
    let Ok(Put::Replaced(ticket)) = state.put_ticket(TOOL, "1", fields) else { panic!("the ticket was there") };
    assert_eq!((ticket.fields.subject.as_str(), ticket.notes.len(), ticket.display_id), ("new", 1, 1));
}

#[test]
fn the_first_fault_that_covers_a_request_acts_until_it_is_used_up() {
    let state = State::default();
    let get = Fault { operation: Target::Get, times: Some(2), ..Fault::default() };
    let other_tool = Fault { tool: Some(Tool::ServicedeskPlusCloud), ..Fault::default() };
    let any = Fault { delay_ms: 1, ..Fault::default() };
    state.set_faults(vec![get.clone(), other_tool.clone(), any.clone()]).unwrap();
    assert_eq!(state.take_fault(TOOL, Operation::Note), Some(any.clone()));
    assert_eq!(state.take_fault(TOOL, Operation::Get), Some(get.clone()));
    assert_eq!(state.faults()[0].times, Some(1));
    assert_eq!(state.take_fault(TOOL, Operation::Get), Some(Fault { times: Some(1), ..get }));
    assert_eq!(state.take_fault(TOOL, Operation::Get), Some(any));
    assert_eq!(state.take_fault(Tool::ServicedeskPlusCloud, Operation::Get), Some(other_tool));
    assert!(state.set_faults(vec![Fault::default(); limits::FAULTS_MAX]).is_ok());
    assert!(state.set_faults(vec![Fault::default(); limits::FAULTS_MAX + 1]).is_err());
}

#[test]
fn the_record_of_requests_drops_the_oldest_and_cuts_long_bodies() {
    let state = State::default();
    for _ in 0..=limits::REQUESTS_KEPT_MAX {
        state.record(&call(vec![b'a'; 2]), None, None);
    }
    let last =
        state.record(&call(vec![b'a'; limits::REQUEST_BODY_KEPT_BYTES_MAX + 1]), Some((TOOL, Operation::Other)), None);
    state.answered(last, StatusCode::NOT_FOUND);
    state.answered(1, StatusCode::OK);
    let kept = state.requests(0);
    assert_eq!((kept.len(), kept[0].number), (limits::REQUESTS_KEPT_MAX, 3));
    assert_eq!(state.requests(last - 1).len(), 1);
    let newest = kept.last().unwrap();
    assert_eq!((newest.number, newest.status, newest.path.as_str()), (last, Some(404), "/x?y=1"));
    assert_eq!(newest.body.len(), limits::REQUEST_BODY_KEPT_BYTES_MAX);
    assert_eq!(newest.headers, [("authtoken".to_owned(), "k".to_owned())]);
    assert_eq!(kept[0].status, None);
    state.reset();
    assert!(state.requests(0).is_empty());
}

#[tokio::test]
async fn waiting_ends_with_the_note_or_at_the_timeout() {
    let state = Arc::new(State::default());
    let minute = Duration::from_secs(60);
    let too_few = |wanted, found| TooFewNotes { tool: TOOL, id: "1".to_owned(), wanted, found };
    assert_eq!(state.wait_for_notes(TOOL, "1", 1, Duration::ZERO).await, Err(too_few(1, 0)));
    let waiting = tokio::spawn({
        let state = Arc::clone(&state);
        async move { state.wait_for_notes(TOOL, "1", 2, minute).await }
    });
    tokio::task::yield_now().await;
    state.put_ticket(TOOL, "1", TicketFields::default()).unwrap();
    for _ in 0..2 {
        assert!(!waiting.is_finished());
        state.add_note(TOOL, "1", "n".to_owned(), true).unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(waiting.await.unwrap().unwrap().notes.len(), 2);
    assert_eq!(state.wait_for_notes(TOOL, "1", 3, Duration::ZERO).await, Err(too_few(3, 2)));
}
