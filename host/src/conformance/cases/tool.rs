//! Level 2, the tool's API: what succeeds, and that nothing else counts as success.

use plugin_abi::PluginError;

use crate::conformance::{
    given::{Expected, GivenAnswer},
    script::{Asked, Fault},
    subject::{Checked, Subject},
    told::Told,
    tried::Tried,
};

/// The wait that the tool asks for, in seconds.
const WAIT_S: u64 = 7;
/// The ticket id used if none is given.
const SOME_ID: &str = "1";
const PAGE: &str = "<!DOCTYPE html><html><head><title>Sign in</title></head><body>Please sign in.</body></html>";

pub(super) fn get(subject: &Subject) -> Checked<()> {
    let ticket = ticket(subject)?;
    subject.script().answers();
    let answer = subject.get(&ticket.id)?;
    let Ok(Some(found)) = &answer else { return Err(failed(subject, "get_ticket", &answer.told())) };
    as_expected(&subject.script().asked())?;
    if found.id.is_empty() {
        return Err("get_ticket answered a ticket without an id".to_owned());
    }
    ticket.expect.difference(found).map_or(Ok(()), |difference| Err(format!("get_ticket: {difference}")))
}

pub(super) fn update(subject: &Subject) -> Checked<()> {
    let ticket = ticket(subject)?;
    for attempt in [1, 2] {
        subject.script().answers();
        let answer = subject.update(&ticket.id, attempt)?;
        if !answer.as_ref().is_ok_and(|updated| updated.taken) {
            return Err(failed(subject, &format!("update_ticket, attempt {attempt},"), &answer.told()));
        }
        if !subject.script().asked().iter().any(|asked| asked.is_change() || asked.shows_note) {
            return Err("update_ticket says that the tool has the note, and has sent it nothing".to_owned());
        }
    }
    Ok(())
}

pub(super) fn internal(subject: &Subject) -> Checked<Tried> {
    let ticket = ticket(subject)?;
    let mut is_demanded = false;
    for attempt in [1, 2] {
        subject.script().answers();
        let _said = subject.update(&ticket.id, attempt)?;
        let asked = subject.script().asked();
        as_expected(&asked)?;
        is_demanded |= asked.iter().any(|asked| asked.is_change() && asked.expected == Expected::Met);
    }
    Ok(match is_demanded {
        true => Tried::Whole,
        false => Tried::Wanting(
            "the [[answer]] to the note's request needs expect_json: what in the request makes the note internal"
                .to_owned(),
        ),
    })
}

/// Runs a later attempt, whose note is on the ticket already.
pub(super) fn found(subject: &Subject) -> Checked<Tried> {
    let ticket = ticket(subject)?;
    subject.script().answers_with_note();
    let answer = subject.update(&ticket.id, 2)?;
    let asked = subject.script().asked();
    let change = asked.iter().position(Asked::is_change);
    let looks = &asked[..change.unwrap_or(asked.len())];
    let is_shown = looks.iter().any(|asked| asked.shows_note);
    let Ok(updated) = &answer else { return Err(failed(subject, "update_ticket, attempt 2,", &answer.told())) };
    if !updated.finds_notes {
        return Ok(Tried::Nothing("the plugin does not say that it finds its notes (FINDS_NOTES)".to_owned()));
    }
    let could_be_seen = subject.given.answer.iter().any(GivenAnswer::shows_note);
    match change.map(|at| &asked[at]) {
        Some(change) if !is_shown && (looks.is_empty() || could_be_seen) => Err(format!(
            "at attempt 2 update_ticket sent {} {} without looking for the note, and FINDS_NOTES is true",
            change.method, change.target
        )),
        Some(change) if is_shown => Err(format!(
            "at attempt 2 update_ticket sent {} {} although the answer before it shows the note's marker",
            change.method, change.target
        )),
        None if !is_shown && !looks.is_empty() && updated.taken => {
            Err("at attempt 2 update_ticket says that the note is on the ticket, and no answer has shown its marker"
                .to_owned())
        }
        None if is_shown && updated.taken => Ok(Tried::Whole),
        None => Err(format!("update_ticket, attempt 2, answered {} and sent no note", answer.told())),
        Some(_) => {
            let look = looks.last().map(|asked| format!("{} {}", asked.method, asked.target)).unwrap_or_default();
            Ok(Tried::Wanting(format!(
                "an [[answer]] to {look} with noted = true is needed, in whose body {{{{marker}}}} stands where the tool \
                 shows the note"
            )))
        }
    }
}

/// Checks the requests against the expectations of their answers.
fn as_expected(asked: &[Asked]) -> Checked<()> {
    asked.iter().try_for_each(|asked| match &asked.expected {
        Expected::Unmet(why) => Err(format!("the request {} {} is not as expected: {why}", asked.method, asked.target)),
        Expected::Met | Expected::Nothing => Ok(()),
    })
}

pub(super) fn odd_ids(subject: &Subject) -> Checked<()> {
    let long = "9".repeat(100);
    for id in [
        "",
        ".",
        "..",
        "../../admin",
        "a/b",
        "a\\b",
        "a?b=c",
        "a#b",
        "a b",
        "a\nb",
        "a%2e%2e%2fb",
        "\0",
        "ü",
        "\u{202e}x",
        "'; --",
        "a&b=c",
        &long,
    ] {
        let missing = Fault::Answer { status: 404, header: None, body: b"{}".to_vec() };
        subject.script().fails(None, missing);
        if let answer @ Ok(Some(_)) = subject.get(id)? {
            return Err(format!("get_ticket answered {} for a ticket that is not there: {id:?}", answer.told()));
        }
        if subject.update(id, 1)?.is_ok_and(|updated| updated.taken) {
            return Err(format!("update_ticket put a note on a ticket that is not there: {id:?}"));
        }
        for asked in subject.script().asked() {
            check_target(&asked, id)?;
        }
    }
    Ok(())
}

/// Checks that the ticket id has stayed in its place in the target.
fn check_target(asked: &Asked, id: &str) -> Checked<()> {
    let target = asked.target.as_str();
    let path = target.split('?').next().unwrap_or_default();
    let climbs = path.split('/').any(|segment| segment == "." || segment == "..");
    let is_raw = target.bytes().any(|byte| byte <= b' ' || byte >= 0x7f || matches!(byte, b'#' | b'\\'));
    let broke_out = ["a/b", "a?b=c", "a&b=c", "../../admin"].iter().any(|odd| *odd == id && target.contains(id));
    if climbs || is_raw || broke_out {
        return Err(format!("the ticket id {id:?} became part of the target {target:?}"));
    }
    Ok(())
}

pub(super) fn unauthorized(subject: &Subject) -> Checked<()> {
    under(subject, &status(401), "Authentication", |error| matches!(error, PluginError::Authentication(_)))
}

pub(super) fn not_found(subject: &Subject) -> Checked<()> {
    under(subject, &status(404), "NotFound", |error| matches!(error, PluginError::NotFound(_)))
}

pub(super) fn rate_limited(subject: &Subject) -> Checked<()> {
    let fault = Fault::Answer { status: 429, header: Some(("retry-after", "7")), body: b"{}".to_vec() };
    under(
        subject,
        &fault,
        "RateLimit with a wait of 7 s",
        |error| matches!(error, PluginError::RateLimit { retry_after: Some(wait), .. } if wait.as_secs() == WAIT_S),
    )
}

pub(super) fn server_error(subject: &Subject) -> Checked<()> {
    under(subject, &status(500), "Api", is_api)?;
    under(subject, &page(503), "Api", is_api)
}

pub(super) fn html(subject: &Subject) -> Checked<()> {
    under(subject, &page(200), "Api", is_api)
}

pub(super) fn cut(subject: &Subject) -> Checked<()> {
    under(subject, &Fault::CutBody, "Api", is_api)
}

pub(super) fn slow(subject: &Subject) -> Checked<()> {
    under(subject, &Fault::SlowBody, "Api", is_api)
}

pub(super) fn lost(subject: &Subject) -> Checked<()> {
    under(subject, &Fault::Lost, "Api", is_api)
}

pub(super) fn draining(subject: &Subject) -> Checked<()> {
    under(subject, &Fault::Draining, "Cancelled", |error| matches!(error, PluginError::Cancelled))
}

/// Applies only where the answer's body is read: update may need no more than the status.
pub(super) fn half(subject: &Subject) -> Checked<()> {
    read_only(subject, &[r#"{"id":"1","subject":"Printer on f"#, "", "\u{feff}"])
}

pub(super) fn odd(subject: &Subject) -> Checked<()> {
    read_only(subject, &["null", "[]", "7", "\"text\"", "[[[[[[{}]]]]]]"])
}

fn read_only(subject: &Subject, bodies: &[&str]) -> Checked<()> {
    let id = id(subject);
    for body in bodies {
        let json = ("content-type", "application/json");
        let fault = Fault::Answer { status: 200, header: Some(json), body: body.as_bytes().to_vec() };
        subject.script().fails(None, fault.clone());
        match subject.get(&id)? {
            answer @ Ok(_) => return Err(format!("get_ticket answered {} from the body {body:?}", answer.told())),
            Err(PluginError::Malformed(_)) => {}
            Err(error) if fits_configuration(subject, &error) || is_api(&error) => {}
            answer => {
                let answer = answer.told();
                return Err(format!("get_ticket answered {answer} from the body {body:?}, not Malformed or Api"));
            }
        }
        subject.script().fails(None, fault);
        // Any error is allowed, and success too.
        let _said = subject.update(&id, 2)?;
    }
    Ok(())
}

/// Runs both methods with this fault: on get's first request, and on each request of update.
fn under(subject: &Subject, fault: &Fault, wanted: &str, fits: fn(&PluginError) -> bool) -> Checked<()> {
    let id = id(subject);
    let is_missing = matches!(fault, Fault::Answer { status: 404, .. });
    subject.script().fails(Some(0), fault.clone());
    match subject.get(&id)? {
        Ok(None) if is_missing => {}
        Err(error) if fits(&error) || fits_configuration(subject, &error) => {}
        answer => return Err(format!("get_ticket answered {}, not {wanted}", answer.told())),
    }
    for attempt in [1, 2] {
        let requests = requests_of_update(subject, &id, attempt)?;
        for at in 0..requests {
            subject.script().fails(Some(at), fault.clone());
            match subject.update(&id, attempt)? {
                Err(error) if fits(&error) || fits_configuration(subject, &error) => {}
                answer => {
                    let which = format!("request {} of {requests}, attempt {attempt}", at + 1);
                    return Err(format!("update_ticket answered {} at {which}, not {wanted}", answer.told()));
                }
            }
        }
    }
    Ok(())
}

/// Number of requests that a successful update makes; one if that is not known.
fn requests_of_update(subject: &Subject, id: &str, attempt: u32) -> Checked<usize> {
    if subject.given.ticket.is_none() {
        return Ok(1);
    }
    subject.script().answers();
    let _answer = subject.update(id, attempt)?;
    Ok(subject.script().asked().len())
}

fn ticket(subject: &Subject) -> Checked<&crate::conformance::given::GivenTicket> {
    subject.given.ticket.as_ref().ok_or_else(|| "no ticket is given".to_owned())
}

fn id(subject: &Subject) -> String {
    subject.given.ticket.as_ref().map_or_else(|| SOME_ID.to_owned(), |ticket| ticket.id.clone())
}

/// Whether this is a configuration error that missing settings or secrets explain.
fn fits_configuration(subject: &Subject, error: &PluginError) -> bool {
    subject.given.ticket.is_none() && matches!(error, PluginError::Configuration(_))
}

fn is_api(error: &PluginError) -> bool {
    matches!(error, PluginError::Api { .. })
}

fn status(status: u16) -> Fault {
    let json = ("content-type", "application/json");
    Fault::Answer { status, header: Some(json), body: br#"{"error":"so it is"}"#.to_vec() }
}

fn page(status: u16) -> Fault {
    Fault::Answer { status, header: Some(("content-type", "text/html; charset=utf-8")), body: PAGE.into() }
}

fn failed(subject: &Subject, what: &str, answer: &str) -> String {
    let unscripted = subject.script().unscripted();
    let unscripted =
        unscripted.map(|asked| format!("; no [[answer]] fits its request {} {}", asked.method, asked.target));
    format!("{what} answered {answer}{}", unscripted.unwrap_or_default())
}
